/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_JSON_H
#define NIJIMI_CLI_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/* Reading answers, and printing them. A member that is not there is NULL, "", 0 or false. */

static inline void cleanup_json_function(struct json_object **object)
{
	json_object_put(*object);
}

#define cleanup_json __attribute__((cleanup(cleanup_json_function)))

struct json_object *json_member(struct json_object *object, const char *key);
const char *json_text(struct json_object *object, const char *key);
uint64_t json_number(struct json_object *object, const char *key);
bool json_boolean(struct json_object *object, const char *key);
size_t json_length(struct json_object *array);

/** An array that is printed while it comes: an element a line. */
struct json_list {
	bool any;
	int indent; // columns
};

void json_list_begin(struct json_list *list, int indent);
void json_list_print(struct json_list *list, struct json_object *element);
void json_list_end(struct json_list *list);

/** Prints a value in one line, without a line break. */
void json_print(struct json_object *value);

/** Prints what the daemon has answered, without "ok", as a line of its own. */
void json_print_answer(struct json_object *answer);

#endif
