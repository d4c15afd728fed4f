/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/database_internal.h"

/* What was marked and cleared by hand. */

void database_save_marks(struct database *database, const struct registry_vm *vm)
{
	if (!vm->marks.changed)
		return;
	run_on(database, CLEAR_MARKS, vm->row);
	for (size_t i = 0; i < vm->marks.count && !database->failed; i++) {
		struct row row = begin_row(database, PUT_MARK);
		put(&row, vm->row);
		put(&row, i);
		put_text(&row, vm->marks.items[i].path);
		put_text(&row, vm->marks.items[i].label);
		run_row(&row);
	}
}

bool database_load_marks(struct database *database, struct registry_vm *vm)
{
	struct error ignored;
	struct row row = begin_row(database, GET_MARKS);
	put(&row, vm->row);
	while (next_row(&row)) {
		const char *path = get_text(&row), *label = get_text(&row);
		if (!*label || !marks_add(&vm->marks, path, label, &ignored))
			return false;
	}
	vm->marks.changed = false;
	return true;
}

static void put_record(struct database *database, const struct audit_record *record)
{
	struct row row = begin_row(database, PUT_AUDIT);
	put(&row, record->id);
	put(&row, record->time);
	put(&row, record->uid);
	put(&row, (uint64_t)record->pid);
	put_text(&row, record->vm);
	put_text(&row, record->uuid);
	put_text(&row, record->action);
	put_text(&row, record->target);
	put_text(&row, record->label);
	put_text(&row, record->result);
	put(&row, record->objects);
	run_row(&row);
}

void database_save_audit(struct database *database, const struct audit *audit)
{
	const struct audit_record *record = audit_next(audit, 0);
	if (audit_changes(audit) == database->audit_changes || !record)
		return;
	run_on(database, DROP_AUDIT, record->id);
	for (; record && !database->failed; record = audit_next(audit, record->id))
		if (record->changed)
			put_record(database, record);
}

void database_audit_saved(struct database *database, struct audit *audit)
{
	struct audit_record *record;
	if (audit_changes(audit) == database->audit_changes)
		return;
	for (uint64_t id = 0; (record = audit_next(audit, id)); id = record->id)
		record->changed = false;
	database->audit_changes = audit_changes(audit);
}

bool database_load_audit(struct database *database, struct audit *audit)
{
	struct row row = begin_row(database, GET_AUDIT);
	uint64_t last = 0;
	while (next_row(&row)) {
		struct audit_record record = {.id = get(&row)};
		record.time = get(&row);
		record.uid = (uint32_t)get(&row);
		record.pid = (int32_t)get(&row);
		record.vm = get_text(&row);
		record.uuid = get_text(&row);
		record.action = get_text(&row);
		record.target = get_text(&row);
		record.label = get_text(&row);
		record.result = get_text(&row);
		record.objects = get(&row);
		if (record.id <= last || record.id > INT64_MAX || audit_add(audit, &record) != record.id)
			return false;
		last = record.id;
	}
	database->audit_changes = audit_changes(audit);
	return true;
}
