/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/alert_check.h"

#include <limits.h>
#include <string.h>

#include "base/text.h"

/** What a member is; `members`: of the object, or of each object in the array. An array without is
 *  one of texts. */
struct member {
	const char *key;
	enum json_type type;
	const struct member *members;
};

static const struct member of_end[] = {
	{"type", json_type_string, NULL},    {"id", json_type_int, NULL},
	{"path", json_type_string, NULL},    {"host_path", json_type_string, NULL},
	{"pid", json_type_int, NULL},	     {"comm", json_type_string, NULL},
	{"exe", json_type_string, NULL},     {"uid", json_type_int, NULL},
	{"family", json_type_string, NULL},  {"socket_type", json_type_string, NULL},
	{"address", json_type_string, NULL}, {"local", json_type_string, NULL},
	{"peer", json_type_string, NULL},    {NULL, json_type_null, NULL},
};

static const struct member of_step[] = {
	{"seq", json_type_int, NULL},	     {"time", json_type_string, NULL},
	{"syscall", json_type_string, NULL}, {"from", json_type_object, of_end},
	{"to", json_type_object, of_end},    {"labels", json_type_array, NULL},
	{"bytes", json_type_int, NULL},	     {NULL, json_type_null, NULL},
};

static const struct member of_process[] = {
	{"pid", json_type_int, NULL},	 {"comm", json_type_string, NULL},
	{"exe", json_type_string, NULL}, {"uid", json_type_int, NULL},
	{NULL, json_type_null, NULL},
};

static const struct member of_alert[] = {
	{"kind", json_type_string, NULL},
	{"rule_line", json_type_int, NULL},
	{"destination", json_type_string, NULL},
	{"blocked", json_type_boolean, NULL},
	{"process", json_type_object, of_process},
	{"syscall", json_type_string, NULL},
	{"origin", json_type_object, of_end},
	{"path", json_type_array, of_step},
	{"path_complete", json_type_boolean, NULL},
	{"held_back", json_type_boolean, NULL},
	{NULL, json_type_null, NULL},
};

static bool is_safe(const struct json_object *value)
{
	if (json_object_is_type(value, json_type_string)) {
		const char *text = json_object_get_string((struct json_object *)value);
		return strlen(text) == (size_t)json_object_get_string_len(value) &&
		       text_is_safe(text);
	}
	if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			if (!is_safe(json_object_array_get_idx(value, i)))
				return false;
	} else if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach((struct json_object *)value, key,
					   member) if (!text_is_safe(key) ||
						       !is_safe(member)) return false;
	}
	return true;
}

static bool has_members(const struct json_object *object, const struct member *members);

static bool has_elements(const struct json_object *array, const struct member *members)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		const struct json_object *element = json_object_array_get_idx(array, i);
		if (members ? !json_object_is_type(element, json_type_object) ||
				      !has_members(element, members)
			    : !json_object_is_type(element, json_type_string))
			return false;
	}
	return true;
}

static bool has_members(const struct json_object *object, const struct member *members)
{
	for (const struct member *member = members; member->key; member++) {
		struct json_object *value = NULL;
		if (!json_object_object_get_ex(object, member->key, &value) || !value)
			continue;
		if (!json_object_is_type(value, member->type) ||
		    (member->type == json_type_array && !has_elements(value, member->members)) ||
		    (member->type == json_type_object && !has_members(value, member->members)))
			return false;
	}
	return true;
}

struct json_object *alert_parse_sound(const char *json)
{
	enum { DEPTH = 16 };
	size_t length = strlen(json);
	struct json_tokener *tokener = length < INT_MAX ? json_tokener_new_ex(DEPTH) : NULL;
	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	struct json_object *alert = json_tokener_parse_ex(tokener, json, (int)length + 1);
	bool sound = json_tokener_get_error(tokener) == json_tokener_success &&
		     json_object_is_type(alert, json_type_object) && is_safe(alert) &&
		     has_members(alert, of_alert);
	json_tokener_free(tokener);
	if (sound)
		return alert;
	json_object_put(alert);
	return NULL;
}
