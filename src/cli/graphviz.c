/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/graphviz.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/program.h"

enum { SECONDS = 60, OUTPUT_MAXIMUM = 256 << 20 };

/** A running `dot`: what it is to read, and what it has written. */
struct drawing {
	pid_t process;
	int input, output, complaints; // -1: closed
	const char *dot;
	size_t left;
	char *text;
	size_t used, size;
	char complaint[200]; // the beginning of what it says on stderr
	size_t complaint_length;
};

static int64_t now_milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

// In the child: no more time and memory than a picture needs.
static void limit_child(void)
{
	static const struct {
		int resource;
		rlim_t limit;
	} limits[] = {
		{RLIMIT_CPU, SECONDS},
		{RLIMIT_AS, 4ul << 30},
		{RLIMIT_CORE, 0},
	};
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit limit = {limits[i].limit, limits[i].limit};
		setrlimit((__rlimit_resource_t)limits[i].resource, &limit);
	}
}

static void run_child(const char *program, const char *format, const int ends[3])
{
	char option[16];
	char *const arguments[] = {"dot", option, NULL};
	snprintf(option, sizeof(option), "-T%s", format);
	for (int i = 0; i < 3; i++)
		if (dup2(ends[i], i) < 0)
			_exit(127);
	signal(SIGPIPE, SIG_DFL);
	limit_child();
	// Its own plug-ins, and no files of the graph's choice (GV_FILE_PATH is where they might
	// be).
	unsetenv("GVBINDIR");
	unsetenv("GV_FILE_PATH");
	setenv("SERVER_NAME", "nijimi", 1);
	execv(program, arguments);
	_exit(127);
}

static bool start(struct drawing *drawing, const char *format, struct error *error)
{
	char program[PATH_MAX];
	int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
	bool done = program_find("dot", program, NULL);
	if (!done)
		return error_set(
			error, ERROR_NOT_FOUND,
			"there is no Graphviz here to draw %s: install the package graphviz, "
			"or use --format dot, json or graphml",
			format);
	for (int i = 0; i < 3 && done; i++)
		done = pipe2(pipes[i], O_CLOEXEC) == 0;
	drawing->process = done ? fork() : -1;
	if (drawing->process == 0)
		run_child(program, format, (int[]){pipes[0][0], pipes[1][1], pipes[2][1]});
	if (drawing->process < 0)
		error_set_errno(error, "cannot start %s", program);
	close_end(&pipes[0][0]);
	close_end(&pipes[1][1]);
	close_end(&pipes[2][1]);
	drawing->input = pipes[0][1];
	drawing->output = pipes[1][0];
	drawing->complaints = pipes[2][0];
	if (drawing->input >= 0)
		fcntl(drawing->input, F_SETFL, O_NONBLOCK);
	return drawing->process > 0;
}

static void write_input(struct drawing *drawing)
{
	ssize_t length = write(drawing->input, drawing->dot, drawing->left);
	if (length > 0) {
		drawing->dot += length;
		drawing->left -= (size_t)length;
	}
	if (drawing->left == 0 || (length < 0 && errno != EAGAIN && errno != EINTR))
		close_end(&drawing->input);
}

static bool read_output(struct drawing *drawing, struct error *error)
{
	if (drawing->used + 1 >= drawing->size) {
		size_t size = drawing->size ? 2 * drawing->size : 1 << 16;
		char *larger = size <= OUTPUT_MAXIMUM ? realloc(drawing->text, size) : NULL;
		if (!larger)
			return error_set(error, ERROR_LIMIT, "the picture is too large");
		drawing->text = larger;
		drawing->size = size;
	}
	ssize_t length = read(drawing->output, drawing->text + drawing->used,
			      drawing->size - drawing->used - 1);
	if (length > 0)
		drawing->used += (size_t)length;
	else if (length == 0 || errno != EINTR)
		close_end(&drawing->output);
	return true;
}

static void read_complaints(struct drawing *drawing)
{
	char text[512];
	ssize_t length = read(drawing->complaints, text, sizeof(text));
	if (length == 0 || (length < 0 && errno != EINTR))
		close_end(&drawing->complaints);
	for (ssize_t i = 0; i < length; i++)
		if (drawing->complaint_length + 1 < sizeof(drawing->complaint))
			drawing->complaint[drawing->complaint_length++] =
				text[i] == '\n' ? ' ' : text[i];
}

static bool talk(struct drawing *drawing, struct error *error)
{
	int64_t end = now_milliseconds() + SECONDS * 1000;
	while (drawing->output >= 0 || drawing->complaints >= 0) {
		int64_t left = end - now_milliseconds();
		struct pollfd wait[] = {{drawing->input, POLLOUT, 0},
					{drawing->output, POLLIN, 0},
					{drawing->complaints, POLLIN, 0}};
		int ready = left > 0 ? poll(wait, 3, (int)left) : 0;
		if (ready == 0)
			return error_set(
				error, ERROR_LIMIT,
				"Graphviz has not drawn this within %d s: show less (--last, "
				"--since, --from, --to, --label), or group more (--group)",
				SECONDS);
		if (ready < 0)
			continue;
		if (wait[0].revents)
			write_input(drawing);
		if (wait[1].revents && !read_output(drawing, error))
			return false;
		if (wait[2].revents)
			read_complaints(drawing);
	}
	return true;
}

static bool finish(struct drawing *drawing, bool talked, struct error *error)
{
	int status = 0;
	char complaint[TEXT_ESCAPED_SIZE(sizeof(drawing->complaint))];
	close_end(&drawing->input);
	close_end(&drawing->output);
	close_end(&drawing->complaints);
	if (!talked)
		kill(drawing->process, SIGKILL);
	while (waitpid(drawing->process, &status, 0) < 0 && errno == EINTR)
		continue;
	if (!talked)
		return false;
	text_escape(drawing->complaint, complaint, sizeof(complaint));
	if (WIFSIGNALED(status))
		return error_set(
			error, ERROR_LIMIT,
			"Graphviz was ended by signal %d: show less (--last, --since, --from, "
			"--to, --label), or group more (--group)%s%s",
			WTERMSIG(status), *complaint ? ": " : "", complaint);
	if (WEXITSTATUS(status) != 0 || drawing->used == 0)
		return error_set(error, ERROR_SYSTEM, "Graphviz failed (status %d)%s%s",
				 WEXITSTATUS(status), *complaint ? ": " : "", complaint);
	drawing->text[drawing->used] = '\0';
	return true;
}

char *graphviz_draw(const char *dot, size_t dot_length, const char *format, size_t *length,
		    struct error *error)
{
	struct drawing drawing = {.process = -1,
				  .input = -1,
				  .output = -1,
				  .complaints = -1,
				  .dot = dot,
				  .left = dot_length};
	bool started = start(&drawing, format, error);
	bool done = started && finish(&drawing, talk(&drawing, error), error);
	close_end(&drawing.input);
	close_end(&drawing.output);
	close_end(&drawing.complaints);
	*length = drawing.used;
	if (!done) {
		free(drawing.text);
		return NULL;
	}
	return drawing.text;
}
