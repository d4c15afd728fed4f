/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/audit.h"

#include <stdlib.h>
#include <string.h>

struct audit {
	struct audit_record *records; // a ring of AUDIT_MAXIMUM
	size_t first, count;
	uint64_t last_id, changes;
};

struct audit *audit_create(void)
{
	struct audit *audit = calloc(1, sizeof(*audit));
	if (!audit)
		return NULL;
	audit->records = calloc(AUDIT_MAXIMUM, sizeof(*audit->records));
	if (!audit->records) {
		free(audit);
		return NULL;
	}
	return audit;
}

static void free_texts(struct audit_record *record)
{
	free((char *)record->vm);
	free((char *)record->uuid);
	free((char *)record->action);
	free((char *)record->target);
	free((char *)record->label);
	free((char *)record->result);
}

static struct audit_record *record_at(const struct audit *audit, size_t index)
{
	return &audit->records[(audit->first + index) % AUDIT_MAXIMUM];
}

void audit_destroy(struct audit *audit)
{
	if (!audit)
		return;
	for (size_t i = 0; i < audit->count; i++)
		free_texts(record_at(audit, i));
	free(audit->records);
	free(audit);
}

uint64_t audit_add(struct audit *audit, const struct audit_record *record)
{
	struct audit_record copy = *record;
	copy.vm = strdup(record->vm);
	copy.uuid = strdup(record->uuid);
	copy.action = strdup(record->action);
	copy.target = strdup(record->target);
	copy.label = strdup(record->label);
	copy.result = strdup(record->result);
	if (!copy.vm || !copy.uuid || !copy.action || !copy.target || !copy.label || !copy.result) {
		free_texts(&copy);
		return 0;
	}
	if (copy.id <= audit->last_id) {
		copy.id = audit->last_id + 1;
		copy.changed = true;
	}
	audit->last_id = copy.id;
	if (audit->count == AUDIT_MAXIMUM) {
		free_texts(record_at(audit, 0));
		audit->first = (audit->first + 1) % AUDIT_MAXIMUM;
		audit->count--;
	}
	*record_at(audit, audit->count++) = copy;
	audit->changes++;
	return copy.id;
}

struct audit_record *audit_next(const struct audit *audit, uint64_t after)
{
	size_t low = 0, high = audit->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (record_at(audit, middle)->id > after)
			high = middle;
		else
			low = middle + 1;
	}
	return low < audit->count ? record_at(audit, low) : NULL;
}

void audit_finish(struct audit *audit, uint64_t id, const char *result, uint64_t objects)
{
	struct audit_record *record = id ? audit_next(audit, id - 1) : NULL;
	char *copy = strdup(result);
	if (!record || record->id != id || !copy) {
		free(copy);
		return;
	}
	free((char *)record->result);
	record->result = copy;
	record->objects = objects;
	record->changed = true;
	audit->changes++;
}

bool audit_is_of(const struct audit_record *record, const char *vm)
{
	return !*vm || strcmp(record->vm, vm) == 0 || (*record->uuid && strcmp(record->uuid, vm) == 0);
}

uint64_t audit_before_last(const struct audit *audit, uint64_t count, const char *vm)
{
	for (size_t i = audit->count; i > 0; i--) {
		const struct audit_record *record = record_at(audit, i - 1);
		if (count == 0)
			return record->id;
		count -= audit_is_of(record, vm);
	}
	return 0;
}

size_t audit_count(const struct audit *audit)
{
	return audit->count;
}

uint64_t audit_changes(const struct audit *audit)
{
	return audit->changes;
}
