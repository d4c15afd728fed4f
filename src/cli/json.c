/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/json.h"

#include <stdio.h>

struct json_object *json_member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;
	if (object && json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, key, &value);
	return value;
}

const char *json_text(struct json_object *object, const char *key)
{
	struct json_object *value = json_member(object, key);
	return value && json_object_is_type(value, json_type_string) ? json_object_get_string(value)
								     : "";
}

uint64_t json_number(struct json_object *object, const char *key)
{
	return json_object_get_uint64(json_member(object, key));
}

bool json_boolean(struct json_object *object, const char *key)
{
	return json_object_get_boolean(json_member(object, key));
}

size_t json_length(struct json_object *array)
{
	return array && json_object_is_type(array, json_type_array)
		       ? json_object_array_length(array)
		       : 0;
}

void json_print(struct json_object *value)
{
	fputs(json_object_to_json_string_ext(value, JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE),
	      stdout);
}

void json_list_begin(struct json_list *list, int indent)
{
	*list = (struct json_list){.indent = indent};
	fputs("[", stdout);
}

void json_list_print(struct json_list *list, struct json_object *element)
{
	printf("%s\n%*s", list->any ? "," : "", list->indent + 2, "");
	json_print(element);
	list->any = true;
}

void json_list_end(struct json_list *list)
{
	if (list->any)
		printf("\n%*s", list->indent, "");
	fputs("]", stdout);
}

void json_print_answer(struct json_object *answer)
{
	json_object_object_del(answer, "ok");
	json_print(answer);
	putchar('\n');
}
