/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/query.h"

// The token is behind '#': a browser sends that to nobody, and the page takes it from there.
int command_web(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	cleanup_json struct json_object *answer =
		query_once(settings, client_request("web", NULL), &error);
	if (!answer)
		return fail(&error);
	if (settings->json)
		json_print_answer(answer);
	else
		printf("%s#token=%s\n", json_text(answer, "url"), json_text(answer, "token"));
	return EXIT_DONE;
}
