/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/web_check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

// Names ---------------------------------------------------------------------------------------

static bool is_address(const char *host)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	char inner[INET6_ADDRSTRLEN];
	size_t length = strlen(host);
	if (inet_pton(AF_INET, host, bytes) == 1)
		return true;
	if (length < 2 || length - 2 >= sizeof(inner) || host[0] != '[' || host[length - 1] != ']')
		return false;
	snprintf(inner, sizeof(inner), "%.*s", (int)length - 2, host + 1);
	return inet_pton(AF_INET6, inner, bytes) == 1;
}

static bool port_is_ours(const struct web_identity *identity, const char *port)
{
	if (!identity->port)
		return true;
	if (port)
		return strcmp(port, identity->port) == 0;
	return strcmp(identity->port, strcmp(identity->scheme, "https") == 0 ? "443" : "80") == 0;
}

bool web_set_name(struct web_identity *identity, const char *name, struct error *error)
{
	if (name && strlen(name) >= sizeof(identity->name))
		return error_set(error, ERROR_INVALID, "the host name is longer than %d characters",
				 WEB_NAME_SIZE - 1);
	strcpy(identity->name, name ? name : "");
	return true;
}

bool web_host_is_ours(const struct web_identity *identity, const char *host)
{
	char name[WEB_NAME_SIZE];
	if (!host || strlen(host) >= sizeof(name))
		return false;
	strcpy(name, host);
	char *colon = strrchr(name, ':');
	if (colon && strchr(colon, ']')) // within an IPv6 address
		colon = NULL;
	if (colon)
		*colon = '\0';
	return port_is_ours(identity, colon ? colon + 1 : NULL) &&
	       (is_address(name) || strcasecmp(name, "localhost") == 0 ||
		(*identity->name && strcasecmp(name, identity->name) == 0));
}

bool web_origin_is_ours(const char *scheme, const char *host, const char *origin,
			const char *fetch_site)
{
	size_t length = strlen(scheme);
	if (fetch_site && strcmp(fetch_site, "same-origin") != 0 && strcmp(fetch_site, "none") != 0)
		return false;
	return !origin ||
	       (strncmp(origin, scheme, length) == 0 && strncmp(origin + length, "://", 3) == 0 &&
		host && strcasecmp(origin + length + 3, host) == 0);
}

// The token -----------------------------------------------------------------------------------

bool web_is_authorized(const struct web_identity *identity, const char *authorization)
{
	static const char scheme[] = "Bearer ";
	unsigned char different = 0;
	if (!authorization || strncasecmp(authorization, scheme, sizeof(scheme) - 1) != 0)
		return false;
	const char *token = authorization + sizeof(scheme) - 1;
	if (strlen(token) != WEB_TOKEN_SIZE - 1)
		return false;
	for (size_t i = 0; i < WEB_TOKEN_SIZE - 1; i++)
		different |= (unsigned char)(token[i] ^ identity->token[i]);
	return different == 0;
}

bool web_token_create(char token[WEB_TOKEN_SIZE], struct error *error)
{
	unsigned char bytes[(WEB_TOKEN_SIZE - 1) / 2];
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return error_set_errno(error, "cannot have random numbers for the web page");
	for (size_t i = 0; i < sizeof(bytes); i++)
		sprintf(token + 2 * i, "%02x", bytes[i]);
	return true;
}

static bool is_token(const char *text, size_t length)
{
	return length == WEB_TOKEN_SIZE - 1 && strspn(text, "0123456789abcdef") == length;
}

static bool read_token(int fd, const char *path, char token[WEB_TOKEN_SIZE], struct error *error)
{
	char text[WEB_TOKEN_SIZE + 1];
	struct stat status;
	if (fstat(fd, &status) != 0)
		return error_set_errno(error, "cannot look at %s", path);
	if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || status.st_mode & 077)
		return error_set(
			error, ERROR_INVALID,
			"%s is not a file that only the daemon's user can read: remove it, "
			"and a new one is made",
			path);
	ssize_t length = read(fd, text, sizeof(text) - 1);
	if (length < 0)
		return error_set_errno(error, "cannot read %s", path);
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (!is_token(text, strlen(text)))
		return error_set(error, ERROR_INVALID,
				 "%s holds no token of 64 hexadecimal digits: remove it, and a new "
				 "one is made",
				 path);
	strcpy(token, text);
	return true;
}

// Under another name first, so that it is there whole or not at all.
static bool write_token(const char *path, const char *token, struct error *error)
{
	char new_path[4200];
	snprintf(new_path, sizeof(new_path), "%s.new", path);
	unlink(new_path);
	cleanup_close int fd =
		open(new_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || dprintf(fd, "%s\n", token) != WEB_TOKEN_SIZE || fsync(fd) != 0 ||
	    rename(new_path, path) != 0)
		return error_set_errno(error, "cannot write %s", path);
	return true;
}

bool web_token_load(const char *directory, char token[WEB_TOKEN_SIZE], struct error *error)
{
	char path[4100];
	snprintf(path, sizeof(path), "%s/web-token", directory);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd >= 0)
		return read_token(fd, path, token, error);
	if (errno != ENOENT)
		return error_set_errno(error, "cannot open %s", path);
	return web_token_create(token, error) && write_token(path, token, error);
}
