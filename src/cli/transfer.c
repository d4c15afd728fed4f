/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/form.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/query.h"
#include "wire/export.h"

enum { PIECE = 65536 };

static bool is_standard(const char *file)
{
	return !file || strcmp(file, "-") == 0;
}

// Export -------------------------------------------------------------------------------------

/** A file that gets its name when it is whole. */
struct new_file {
	const char *name; // NULL: the standard output
	char temporary[PATH_MAX];
	int fd;
};

static bool new_file_init(struct new_file *file, const char *name, struct error *error)
{
	*file = (struct new_file){.name = is_standard(name) ? NULL : name, .fd = STDOUT_FILENO};
	if (!file->name && isatty(STDOUT_FILENO))
		return error_set(error, ERROR_INVALID,
				 "the state is nothing for a terminal: name a file");
	if (!file->name)
		return true;
	file->fd = -1;
	if (access(name, F_OK) == 0)
		return error_set(error, ERROR_INVALID, "%s is there already", name);
	if (snprintf(file->temporary, sizeof(file->temporary), "%s.XXXXXX", name) >=
	    (int)sizeof(file->temporary))
		return error_set(error, ERROR_INVALID, "the name %s is too long", name);
	file->fd = mkostemp(file->temporary, O_CLOEXEC); // for this user only
	return file->fd >= 0 || error_set_errno(error, "cannot make a file beside %s", name);
}

static void new_file_deinit(struct new_file *file)
{
	if (!file->name || file->fd < 0)
		return;
	close(file->fd);
	unlink(file->temporary);
}

// Nobody else's file of that name goes.
static bool new_file_finish(struct new_file *file, struct error *error)
{
	if (!file->name)
		return true;
	if (fsync(file->fd) != 0)
		return error_set_errno(error, "cannot write %s", file->name);
	if (link(file->temporary, file->name) != 0)
		return error_set_errno(error, "cannot make %s", file->name);
	return true;
}

static bool write_piece(const struct new_file *file, const char *bytes, size_t length, struct error *error)
{
	return output_write_all(file->fd, bytes, length) ||
	       error_set_errno(error, "cannot write %s", file->name ? file->name : "the output");
}

static bool ignore_frame(void *context, const struct wire_message *message, struct error *error)
{
	return true;
}

// What comes is looked at on its way: a daemon that dies leaves no half of a file.
static bool receive_file(struct client *client, struct new_file *file, uint64_t *bytes,
			 struct error *error)
{
	struct export_reader reader;
	char piece[PIECE];
	ssize_t length = 0;
	bool fine = export_reader_init(&reader) ||
		    error_set(error, ERROR_MEMORY, "no memory for the file");
	while (fine && (length = client_read(client, piece, sizeof(piece), error)) > 0)
		fine = export_reader_feed(&reader, piece, (size_t)length, ignore_frame, NULL,
					  error) &&
		       write_piece(file, piece, (size_t)length, error);
	fine = fine && length == 0 && export_reader_finish(&reader, error) &&
	       new_file_finish(file, error);
	*bytes = reader.bytes;
	export_reader_deinit(&reader);
	return fine;
}

static void tell_export(const struct settings *settings, struct json_object *answer,
			const char *file, uint64_t bytes)
{
	char size[FORM_SIZE];
	if (is_standard(file))
		return; // where it would stand is the file
	json_object_object_del(answer, "ok");
	json_object_object_add(answer, "file", json_object_new_string(file));
	json_object_object_add(answer, "bytes", json_object_new_uint64(bytes));
	if (settings->json) {
		json_print(answer);
		putchar('\n');
		return;
	}
	printf("%s: %" PRIu64 " objects, %" PRIu64 " edges and %" PRIu64 " alerts in %s (%s)\n",
	       json_text(answer, "name"), json_number(answer, "objects"),
	       json_number(answer, "edges"), json_number(answer, "alerts"), file,
	       form_bytes(bytes, size));
}

int command_export(const struct settings *settings, int count, char **operands)
{
	const char *name = count > 1 ? operands[1] : NULL;
	struct error error = {0};
	struct new_file file;
	struct query query;
	uint64_t bytes = 0;
	if (!new_file_init(&file, name, &error))
		return fail(&error);
	if (!query_init(&query, settings, &error)) {
		new_file_deinit(&file);
		return fail(&error);
	}
	cleanup_json struct json_object *answer =
		client_ask(&query.client, client_request("export", operands[0]), &error);
	if (answer)
		query_warn_if_stale(answer);
	bool done = answer && receive_file(&query.client, &file, &bytes, &error);
	query_deinit(&query);
	new_file_deinit(&file);
	if (!done)
		return fail(&error);
	tell_export(settings, answer, name, bytes);
	return EXIT_DONE;
}

// Import -------------------------------------------------------------------------------------

static bool find_user(const char *text, uint64_t *user, struct error *error)
{
	char *end;
	const struct passwd *entry = getpwnam(text);
	if (entry) {
		*user = entry->pw_uid;
		return true;
	}
	errno = 0;
	*user = strtoull(text, &end, 10);
	if (errno || *end || *text < '0' || *text > '9' || *user >= UINT32_MAX)
		return error_set(error, ERROR_NOT_FOUND, "there is no user '%s'", text);
	return true;
}

// When the daemon takes no more, it has said why.
static bool send_file(struct client *client, int fd, const char *name, struct error *error)
{
	char piece[PIECE];
	ssize_t length;
	struct error ignored;
	while ((length = read(fd, piece, sizeof(piece))) != 0) {
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			return error_set_errno(error, "cannot read %s", name);
		if (!client_write(client, piece, (size_t)length, &ignored))
			return true;
	}
	client_end_writing(client);
	return true;
}

static struct json_object *import_file(struct client *client, int fd, const char *name,
				       struct json_object *request, struct error *error)
{
	enum { MILLISECONDS = 120000 }; // the last that was sent is written first
	cleanup_json struct json_object *ready = client_ask(client, request, error);
	if (!ready || !send_file(client, fd, name, error))
		return NULL;
	struct json_object *answer = client_receive(client, MILLISECONDS, error);
	if (!answer && error->code == ERROR_NONE)
		error_set(error, ERROR_SYSTEM, "the daemon does not answer");
	return answer;
}

static void tell_import(const struct settings *settings, struct json_object *answer)
{
	if (settings->json) {
		json_print_answer(answer);
		return;
	}
	printf("%s (%s): %" PRIu64 " files with labels, %" PRIu64 " objects, %" PRIu64
	       " edges, %" PRIu64 " alerts%s\n",
	       json_text(answer, "name"), json_text(answer, "uuid"), json_number(answer, "files"),
	       json_number(answer, "objects"), json_number(answer, "edges"),
	       json_number(answer, "alerts"),
	       json_boolean(answer, "replaced") ? "; what was known before is gone" : "");
	if (!json_boolean(answer, "saved"))
		say("warning: the daemon could not write it to its disk yet (`nijimi status`)");
}

int command_import(const struct settings *settings, int count, char **operands)
{
	bool standard = is_standard(operands[0]);
	const char *name = standard ? "the standard input" : operands[0];
	struct error error = {0};
	struct query query;
	uint64_t user = UINT64_MAX;
	cleanup_close int opened = standard ? -1 : open(operands[0], O_RDONLY | O_CLOEXEC);
	if (!standard && opened < 0) {
		error_set_errno(&error, "cannot open %s", name);
		return fail(&error);
	}
	if ((settings->user && !find_user(settings->user, &user, &error)) ||
	    !query_init(&query, settings, &error))
		return fail(&error);
	struct json_object *request = client_request("import", NULL);
	json_object_object_add(request, "replace", json_object_new_boolean(settings->replace));
	if (user != UINT64_MAX)
		json_object_object_add(request, "user", json_object_new_uint64(user));
	cleanup_json struct json_object *answer =
		import_file(&query.client, standard ? STDIN_FILENO : opened, name, request, &error);
	query_deinit(&query);
	if (!answer)
		return fail(&error);
	tell_import(settings, answer);
	return EXIT_DONE;
}
