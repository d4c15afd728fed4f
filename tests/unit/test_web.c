/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/web.h"
#include "daemon/web_check.h"

/* Who may have what (the page itself is tried in a browser: tests/web). */

static void hosts(void **state)
{
	static const struct web_identity http = {
		.scheme = "http", .port = "8080", .name = "kvm.example"};
	static const struct web_identity https = {.scheme = "https", .port = "443"};
	static const struct {
		const struct web_identity *identity;
		bool ours;
		const char *host;
	} rows[] = {
		{&http, true, "127.0.0.1:8080"},
		{&http, true, "192.0.2.7:8080"},
		{&http, true, "[::1]:8080"},
		{&http, true, "[2001:db8::7]:8080"},
		{&http, true, "localhost:8080"},
		{&http, true, "LOCALHOST:8080"},
		{&http, true, "kvm.example:8080"},
		{&http, true, "KVM.Example:8080"},
		{&http, false, NULL},
		{&http, false, ""},
		{&http, false, ":8080"},
		{&http, false, "127.0.0.1"},
		{&http, false, "127.0.0.1:80"},
		{&http, false, "127.0.0.1:08080"},
		{&http, false, "127.0.0.1:8080 "},
		{&http, false, "127.0.0.1:8080:8080"},
		{&http, false, "127.1:8080"},
		{&http, false, "2130706433:8080"},
		{&http, false, "0x7f.0.0.1:8080"},
		{&http, false, "[::1]"},
		{&http, false, "[::1:8080"},
		{&http, false, "::1:8080"},
		{&http, false, "[127.0.0.1]:8080"},
		{&http, false, "evil.example:8080"},
		{&http, false, "kvm.example.evil.example:8080"},
		{&http, false, "127.0.0.1.evil.example:8080"},
		{&http, false, "localhost.:8080"},
		{&http, false, "user@127.0.0.1:8080"},
		{&https, true, "192.0.2.7"},
		{&https, true, "192.0.2.7:443"},
		{&https, true, "[2001:db8::7]"},
		{&https, false, "192.0.2.7:80"},
		{&https, false, "kvm.example"},
	};
	static const struct web_identity any_port = {.scheme = "http"};
	char longest[1000];
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (web_host_is_ours(rows[i].identity, rows[i].host) != rows[i].ours)
			fail_msg("%s", rows[i].host ? rows[i].host : "no host");
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_false(web_host_is_ours(&http, longest));
	assert_true(web_host_is_ours(&any_port, "127.0.0.1:1"));
	assert_true(web_host_is_ours(&any_port, "[::1]"));
	assert_false(web_host_is_ours(&any_port, "kvm.example:1"));
	assert_false(web_host_is_ours(&any_port, "127.0.0.1:1:1"));
}

static void origins(void **state)
{
	static const char host[] = "127.0.0.1:8080";
	assert_true(web_origin_is_ours("http", host, NULL, NULL));
	assert_true(web_origin_is_ours("http", host, "http://127.0.0.1:8080", "same-origin"));
	assert_true(web_origin_is_ours("http", host, NULL, "none"));
	assert_false(web_origin_is_ours("http", host, "https://127.0.0.1:8080", NULL));
	assert_false(web_origin_is_ours("http", host, "http://127.0.0.1:80", NULL));
	assert_false(web_origin_is_ours("http", host, "http://127.0.0.1:8080.evil", NULL));
	assert_false(web_origin_is_ours("http", host, "null", NULL));
	assert_false(web_origin_is_ours("http", host, "", NULL));
	assert_false(web_origin_is_ours("http", host, NULL, "cross-site"));
	assert_false(web_origin_is_ours("http", host, NULL, "same-site"));
	assert_false(web_origin_is_ours("http", NULL, "http://127.0.0.1:8080", NULL));
}

static void keys(void **state)
{
	struct web_identity identity = {.scheme = "http", .port = "1"};
	struct error error;
	char header[200];
	assert_true(web_token_create(identity.token, &error));
	assert_int_equal(strlen(identity.token), WEB_TOKEN_SIZE - 1);
	snprintf(header, sizeof(header), "Bearer %s", identity.token);
	assert_true(web_is_authorized(&identity, header));
	for (size_t i = strlen("Bearer "); header[i]; i++) {
		header[i] ^= 1;
		assert_false(web_is_authorized(&identity, header));
		header[i] ^= 1;
	}
	strcat(header, "0");
	assert_false(web_is_authorized(&identity, header));
	header[strlen(header) - 2] = '\0';
	assert_false(web_is_authorized(&identity, header));
	assert_false(web_is_authorized(&identity, NULL));
	assert_false(web_is_authorized(&identity, ""));
	assert_false(web_is_authorized(&identity, "Bearer "));
	assert_false(web_is_authorized(&identity, identity.token));
	snprintf(header, sizeof(header), "Basic %s", identity.token);
	assert_false(web_is_authorized(&identity, header));
}

// Kept over restarts, for the daemon's user alone.
static void kept_key(void **state)
{
	char directory[] = "/tmp/nijimi-test.XXXXXX", path[64], first[WEB_TOKEN_SIZE];
	char again[WEB_TOKEN_SIZE], command[64];
	struct error error;
	struct stat status;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/web-token", directory);
	assert_true(web_token_load(directory, first, &error));
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_true(web_token_load(directory, again, &error));
	assert_string_equal(first, again);

	chmod(path, 0640);
	assert_false(web_token_load(directory, again, &error));
	assert_int_equal(error.code, ERROR_INVALID);
	assert_non_null(strstr(error.message, path));
	chmod(path, 0600);
	assert_int_equal(truncate(path, 20), 0);
	assert_false(web_token_load(directory, again, &error));
	unlink(path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_false(web_token_load(directory, again, &error));
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_false(web_token_load(directory, again, &error));
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
}

// What others could read is not served without TLS.
static void addresses(void **state)
{
	static const struct web_owner owner = {0};
	static const struct {
		struct web_settings settings;
		const char *reason;
	} rows[] = {
		{{.address = "0.0.0.0:0"}, "--web-certificate"},
		{{.address = "[::]:0"}, "--web-certificate"},
		{{.address = "localhost:0"}, "is no address for the web page"},
		{{.address = "70000"}, "is no address for the web page"},
		{{.address = "0", .certificate = "/etc/passwd"}, "both"},
		{{.address = "0", .key = "/etc/passwd"}, "both"},
		{{.address = "0", .certificate = "/etc/passwd", .key = "/etc/passwd"},
		 "no file in PEM"},
		{{.address = "0", .certificate = "/none", .key = "/none"}, "cannot open /none"},
		{{.address = "0", .directory = "/none"}, "/none"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error error = {0};
		assert_null(web_create(&rows[i].settings, &owner, &error));
		if (!strstr(error.message, rows[i].reason))
			fail_msg("%s: %s", rows[i].settings.address, error.message);
	}
	for (int i = 0; i < 2; i++) {
		const struct web_settings settings = {.address = i ? "[::1]:0" : "0"};
		struct error error = {0};
		struct web *web = web_create(&settings, &owner, &error);
		if (!web && i == 1) // a machine without IPv6
			continue;
		assert_non_null(web);
		assert_int_equal(
			strncmp(web_url(web), i ? "http://[::1]:" : "http://127.0.0.1:", 13), 0);
		web_destroy(web);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts),    cmocka_unit_test(origins),	 cmocka_unit_test(keys),
		cmocka_unit_test(kept_key), cmocka_unit_test(addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
