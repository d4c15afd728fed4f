/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/database.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/database_internal.h"
#include "daemon/database_schema.h"
#include "daemon/map.h"
#include "daemon/process.h"
#include "daemon/store_changes.h"

_Static_assert(sizeof(database_migrations) / sizeof(database_migrations[0]) == DATABASE_SCHEMA,
	       "a step for each version of the schema");

enum {
	APPLICATION_ID = 0x6e696a69, // "niji", in the header of the file
	SHRINK_PAGES = 256, // at once
	SHRINK_SMALLEST = 64,
};

#define ROW_MAXIMUM ((uint64_t)1 << 62) // what SQLite can count to, and room

#define DESCRIPTION_COLUMNS                                                                        \
	"id, object, kind, group_number, time, inode, start_time, device, generation, mode, pid, " \
	"uid, family, socket_type, inner_pid, pid_namespace, denied, removable, path, name, address, peer, "          \
	"host_path, filesystem, filesystem_inode, filesystem_generation"
#define AGENT_COLUMNS                                                                              \
	"row, instance, pid, process_start, host_boot, uid, program, name, run, process_ended, "   \
	"restarting, left_out, journal, ignored, connected_time, disconnected_time, heard_time, "  \
	"synced_time, label_bits"
#define VM_COLUMNS                                                                                 \
	"row, agent, name, number, gone, described, unwatched, state, boot, vcpus, uuid, "         \
	"uuid_ns, "                                                                                \
	"profile_ns, profile_cached, kernel, hook, reason, first_time, state_time, event, "        \
	"generation, ever_files, ever_processes, ever_sockets, ever_endpoints, edges_dropped, "    \
	"ended_dropped, descriptions"

#define ALERT_COLUMNS "id, listed, held_back, json, text, vm, label, sink"
#define AUDIT_COLUMNS                                                                              \
	"id, time, uid, pid, vm, uuid, action, target, label, result, objects"
#define ALERT_NUMBER_COLUMNS                                                                       \
	"last, exact, dropped, hash_key, raised, held_back, window_end, window_count, window_held"

// So many of the first rows of a VM.
#define CUT(table, key)                                                                            \
	"DELETE FROM " table " WHERE vm = ?1 AND " key " < ifnull((SELECT " key " FROM " table     \
	" WHERE vm = ?1 ORDER BY " key " LIMIT 1 OFFSET 2000), 9223372036854775807)"

static const char *const statement_texts[STATEMENTS] = {
	[PUT_AGENT] = "REPLACE INTO agents(" AGENT_COLUMNS
		      ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[PUT_VM] = "REPLACE INTO vms(" VM_COLUMNS
		   ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[PUT_DESCRIPTION] = "REPLACE INTO descriptions(vm, " DESCRIPTION_COLUMNS
			    ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[PUT_OBJECT] = "REPLACE INTO objects VALUES(?,?,?,?,?,?)",
	[PUT_NUMBER] = "REPLACE INTO numbers VALUES(?,?,?,?)",
	[PUT_EDGE] = "REPLACE INTO edges VALUES(?,?,?,?,?,?,?,?,?)",
	[PUT_GAP] = "REPLACE INTO gaps VALUES(?,?,?,?,?,?,?)",
	[PUT_KERNEL] = "REPLACE INTO kernels VALUES(?,?,?,?,?)",
	[DROP_EDGE] = "DELETE FROM edges WHERE vm = ? AND event = ?",
	[PUT_PERIOD] = "REPLACE INTO periods VALUES(?,?,?,?,?)",
	[CLEAR_PERIODS] = "DELETE FROM periods WHERE vm = ?",
	[GET_PERIODS] = "SELECT begin_time, end_time, reason FROM periods"
			" WHERE vm = ? ORDER BY position",
	[PUT_FORGOTTEN] = "REPLACE INTO forgotten VALUES(?)",
	[DROP_FORGOTTEN] = "DELETE FROM forgotten WHERE row = ?",
	[GET_FORGOTTEN] = "SELECT row FROM forgotten",
	[GET_LAST_FORGOTTEN] = "SELECT max(row) FROM forgotten",
	[CUT_DESCRIPTIONS] = CUT("descriptions", "id"),
	[CUT_OBJECTS] = CUT("objects", "id"),
	[CUT_NUMBERS] = CUT("numbers", "number"),
	[CUT_EDGES] = CUT("edges", "event"),
	[GET_PAGES] = "PRAGMA page_count",
	[GET_FREE_PAGES] = "PRAGMA freelist_count",
	[GET_PAGE_SIZE] = "PRAGMA page_size",
	[DROP_AGENT] = "DELETE FROM agents WHERE row = ?",
	[DROP_VM] = "DELETE FROM vms WHERE row = ?",
	[DROP_DESCRIPTION] = "DELETE FROM descriptions WHERE vm = ? AND id = ?",
	[DROP_OBJECT] = "DELETE FROM objects WHERE vm = ? AND id = ?",
	[DROP_NUMBERS] = "DELETE FROM numbers WHERE vm = ? AND object = ?",
	[DROP_EDGES] = "DELETE FROM edges WHERE vm = ? AND event < ?",
	[CLEAR_DESCRIPTIONS] = "DELETE FROM descriptions WHERE vm = ?",
	[CLEAR_OBJECTS] = "DELETE FROM objects WHERE vm = ?",
	[CLEAR_NUMBERS] = "DELETE FROM numbers WHERE vm = ?",
	[CLEAR_EDGES] = "DELETE FROM edges WHERE vm = ?",
	[CLEAR_GAPS] = "DELETE FROM gaps WHERE vm = ?",
	[CLEAR_KERNELS] = "DELETE FROM kernels WHERE vm = ?",
	[PUT_LABEL] = "INSERT INTO labels VALUES(?,?)",
	[CLEAR_LABELS] = "DELETE FROM labels",
	[GET_LABELS] = "SELECT bit, name FROM labels",
	[GET_AGENTS] = "SELECT " AGENT_COLUMNS " FROM agents ORDER BY row",
	[GET_VMS] = "SELECT " VM_COLUMNS " FROM vms WHERE agent = ? ORDER BY row",
	[GET_DESCRIPTIONS] = "SELECT " DESCRIPTION_COLUMNS " FROM descriptions WHERE vm = ?",
	[GET_OBJECTS] = "SELECT id, labels, ended, ended_time, description FROM objects"
			" WHERE vm = ? ORDER BY id",
	[GET_NUMBERS] = "SELECT number, generation, object FROM numbers WHERE vm = ?",
	[GET_ENDED] = "SELECT id FROM objects WHERE vm = ? AND ended > 0 ORDER BY ended",
	[GET_EDGES] = "SELECT event, sequence, time, labels, source, destination, cause, bytes FROM edges"
		      " WHERE vm = ? ORDER BY event",
	[GET_GAPS] = "SELECT kind, detail, count, first_time, last_time FROM gaps"
		     " WHERE vm = ? ORDER BY position",
	[GET_KERNELS] = "SELECT release, begin_time, end_time FROM kernels"
			" WHERE vm = ? ORDER BY position",
	[PUT_ALERT] = "REPLACE INTO alerts(" ALERT_COLUMNS ") VALUES(?,?,?,?,?,?,?,?)",
	[PUT_ALERT_REPEATS] = "REPLACE INTO alert_repeats VALUES(?,?,?)",
	[PUT_ALERT_SEEN] = "REPLACE INTO alerts_seen VALUES(?,?,?,?)",
	[PUT_ALERT_DESTINATION] = "REPLACE INTO alert_destinations VALUES(?,?,?,?)",
	[PUT_ALERT_NUMBERS] = "REPLACE INTO alert_numbers(one, " ALERT_NUMBER_COLUMNS
			      ") VALUES(1,?,?,?,?,?,?,?,?,?)",
	[PUT_MARK] = "REPLACE INTO marks VALUES(?,?,?,?)",
	[PUT_AUDIT] = "REPLACE INTO audit(" AUDIT_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?)",
	[CLEAR_MARKS] = "DELETE FROM marks WHERE vm = ?",
	[DROP_AUDIT] = "DELETE FROM audit WHERE id < ?",
	[DROP_ALERT] = "DELETE FROM alerts WHERE id = ?",
	[DROP_ALERT_REPEATS] = "DELETE FROM alert_repeats WHERE alert = ?",
	[CLEAR_ALERTS] = "DELETE FROM alerts",
	[CLEAR_ALERT_REPEATS] = "DELETE FROM alert_repeats",
	[CLEAR_ALERT_DESTINATIONS] = "DELETE FROM alert_destinations",
	[GET_ALERTS] = "SELECT " ALERT_COLUMNS " FROM alerts ORDER BY id",
	[GET_ALERT_REPEATS] = "SELECT alert, count, last_time FROM alert_repeats",
	[GET_ALERTS_SEEN] = "SELECT place, hash, time, alert FROM alerts_seen",
	[GET_ALERT_DESTINATIONS] =
		"SELECT identity, confirmed, delivered, lost FROM alert_destinations",
	[GET_MARKS] = "SELECT path, label FROM marks WHERE vm = ? ORDER BY position",
	[GET_AUDIT] = "SELECT " AUDIT_COLUMNS " FROM audit ORDER BY id",
	[GET_ALERT_NUMBERS] = "SELECT " ALERT_NUMBER_COLUMNS " FROM alert_numbers",
};

const char *database_path(const struct database *database)
{
	return database->path;
}

// Descriptions -------------------------------------------------------------------------------

// Numbers, in the order of DESCRIPTION_COLUMNS.
static const struct number_column {
	size_t offset, size;
} number_columns[] = {
#define COLUMN(member)                                                                             \
	{                                                                                          \
		offsetof(struct wire_object, member), sizeof(((struct wire_object *)0)->member)    \
	}
	COLUMN(kind),	    COLUMN(group),	   COLUMN(time),       COLUMN(inode),
	COLUMN(start_time), COLUMN(device),	   COLUMN(generation), COLUMN(mode),
	COLUMN(pid),	    COLUMN(uid),	   COLUMN(family),     COLUMN(socket_type),
	COLUMN(inner_pid),  COLUMN(pid_namespace), COLUMN(denied),
	COLUMN(removable),
#undef COLUMN
};

static const size_t text_columns[] = {
	offsetof(struct wire_object, path),	 offsetof(struct wire_object, name),
	offsetof(struct wire_object, address),	 offsetof(struct wire_object, peer),
	offsetof(struct wire_object, host_path),
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Little-endian, as the whole of nijimi is (x86-64).
static void put_description(struct database *database, uint64_t vm,
			    const struct description *description)
{
	const char *fields = (const char *)&description->fields;
	struct row row = begin_row(database, PUT_DESCRIPTION);
	put(&row, vm);
	put(&row, description->saved);
	put(&row, description->object);
	for (size_t i = 0; i < COUNT(number_columns); i++) {
		uint64_t number = 0;
		memcpy(&number, fields + number_columns[i].offset, number_columns[i].size);
		put(&row, number);
	}
	for (size_t i = 0; i < COUNT(text_columns); i++)
		put_text(&row, *(const char *const *)(fields + text_columns[i]));
	const struct wire_identity *identity = &description->fields.identity;
	static const struct wire_identity none;
	if (memcmp(identity->filesystem, none.filesystem, sizeof(none.filesystem)) != 0)
		put_bytes(&row, identity->filesystem, sizeof(identity->filesystem));
	else
		put_null(&row);
	put(&row, identity->inode);
	put(&row, identity->generation);
	run_row(&row);
}

static struct description *get_description(struct row *row)
{
	struct wire_object object = {0};
	uint64_t id = get(row), of = get(row);
	for (size_t i = 0; i < COUNT(number_columns); i++) {
		uint64_t number = get(row);
		memcpy((char *)&object + number_columns[i].offset, &number, number_columns[i].size);
	}
	for (size_t i = 0; i < COUNT(text_columns); i++)
		*(const char **)((char *)&object + text_columns[i]) = get_text(row);
	get_bytes(row, object.identity.filesystem, sizeof(object.identity.filesystem));
	object.identity.inode = get(row);
	object.identity.generation = (uint32_t)get(row);
	struct description *description = description_create(&object, of);
	if (description)
		description->saved = id;
	return description;
}

static bool remember_described(struct database *database, struct description *description)
{
	if (database->described_count == database->described_capacity) {
		size_t capacity =
			database->described_capacity ? 2 * database->described_capacity : 256;
		void *larger =
			realloc(database->described, capacity * sizeof(struct description *));
		if (!larger)
			return false;
		database->described = (struct description **)larger;
		database->described_capacity = capacity;
	}
	database->described[database->described_count++] = description;
	return true;
}

// The number of a description, which is written if it was not. 0: the unknown one.
static uint64_t save_description(struct database *database, uint64_t vm,
				 struct store_changes *changes, struct description *description)
{
	if (description == &description_unknown)
		return 0;
	if (!description->saved) {
		if (!remember_described(database, description)) {
			database->failed = true;
			return 0;
		}
		description->saved = ++changes->descriptions;
		put_description(database, vm, description);
	}
	return description->saved;
}

// Saving a VM --------------------------------------------------------------------------------

struct number_context {
	struct database *database;
	uint64_t vm, object;
};

static void put_number(uint32_t number, uint32_t generation, void *context)
{
	struct number_context *numbers = context;
	struct row row = begin_row(numbers->database, PUT_NUMBER);
	put(&row, numbers->vm);
	put(&row, number);
	put(&row, numbers->object);
	put(&row, generation);
	run_row(&row);
}

static void save_object(struct database *database, uint64_t vm, struct store_changes *changes,
			const struct store_object *object)
{
	uint64_t description = save_description(database, vm, changes, object->description);
	struct row row = begin_row(database, PUT_OBJECT);
	put(&row, vm);
	put(&row, object->id);
	put(&row, object->labels);
	put(&row, object->ended);
	put(&row, object->ended_time);
	put(&row, description);
	run_row(&row);
	struct number_context numbers = {database, vm, object->id};
	store_for_each_number(object, put_number, &numbers);
}

static void save_edge(struct database *database, uint64_t vm, struct store_changes *changes,
		      const struct store_edge *edge)
{
	uint64_t from = edge->from ? save_description(database, vm, changes, edge->from) : 0;
	uint64_t to = save_description(database, vm, changes, edge->to);
	struct row row = begin_row(database, PUT_EDGE);
	put(&row, vm);
	put(&row, edge->event);
	put(&row, edge->sequence);
	put(&row, edge->time);
	put(&row, edge->labels);
	if (edge->from)
		put(&row, from);
	else
		put_null(&row);
	put(&row, to);
	put_text(&row, edge->cause);
	put(&row, edge->bytes);
	run_row(&row);
}

static void save_changed_edges(struct database *database, uint64_t vm, const struct store *store,
			       struct store_changes *changes)
{
	for (size_t i = 0; i < changes->edges_changed->count && !database->failed; i++) {
		uint64_t event = changes->edges_changed->ids[i];
		const struct store_edge *edge = store_next_edge(store, event - 1);
		if (edge && edge->event == event)
			save_edge(database, vm, changes, edge);
	}
}

static void clear_vm(struct database *database, uint64_t vm)
{
	for (int which = CLEAR_DESCRIPTIONS; which <= CLEAR_PERIODS; which++)
		run_on(database, (enum statement)which, vm);
}

static void unsave_descriptions(const struct store *store)
{
	const struct store_object *object;
	const struct store_edge *edge;
	for (uint64_t id = 0; (object = store_next_object(store, id)); id = object->id)
		object->description->saved = 0;
	for (uint64_t event = 0; (edge = store_next_edge(store, event)); event = edge->event) {
		if (edge->from && edge->from != &description_unknown)
			edge->from->saved = 0;
		if (edge->to != &description_unknown)
			edge->to->saved = 0;
	}
}

static void save_all_objects(struct database *database, uint64_t vm, const struct store *store,
			     struct store_changes *changes)
{
	const struct store_object *object;
	for (uint64_t id = 0; !database->failed && (object = store_next_object(store, id));
	     id = object->id)
		save_object(database, vm, changes, object);
}

// A number may have gone from one object to another: all that was is taken away first.
static void save_changed_objects(struct database *database, uint64_t vm, const struct store *store,
				 struct store_changes *changes)
{
	for (size_t i = 0; i < changes->changed->count; i++)
		run_on_two(database, DROP_NUMBERS, vm, changes->changed->ids[i]);
	for (size_t i = 0; i < changes->dropped->count; i++) {
		run_on_two(database, DROP_NUMBERS, vm, changes->dropped->ids[i]);
		run_on_two(database, DROP_OBJECT, vm, changes->dropped->ids[i]);
	}
	for (size_t i = 0; i < changes->released->count; i++)
		run_on_two(database, DROP_DESCRIPTION, vm, changes->released->ids[i]);
	for (size_t i = 0; i < changes->changed->count && !database->failed; i++) {
		const struct store_object *object = store_object(store, changes->changed->ids[i]);
		if (object)
			save_object(database, vm, changes, object);
	}
}

static void save_periods(struct database *database, uint64_t vm, const struct store *store)
{
	size_t count;
	const struct store_period *periods = store_periods(store, &count);
	for (size_t i = 0; i < count; i++) {
		struct row row = begin_row(database, PUT_PERIOD);
		put(&row, vm);
		put(&row, i);
		put(&row, periods[i].begin);
		put(&row, periods[i].end);
		put_text(&row, periods[i].reason);
		run_row(&row);
	}
}

static void save_gaps_and_kernels(struct database *database, uint64_t vm, const struct store *store)
{
	size_t count;
	save_periods(database, vm, store);
	const struct store_gap *gaps = store_gaps(store, &count);
	for (size_t i = 0; i < count; i++) {
		struct row row = begin_row(database, PUT_GAP);
		put(&row, vm);
		put(&row, i);
		put_text(&row, gaps[i].kind);
		put_text(&row, gaps[i].detail);
		put(&row, gaps[i].count);
		put(&row, gaps[i].first_time);
		put(&row, gaps[i].last_time);
		run_row(&row);
	}
	const struct store_kernel *kernels = store_kernels(store, &count);
	for (size_t i = 0; i < count; i++) {
		struct row row = begin_row(database, PUT_KERNEL);
		put(&row, vm);
		put(&row, i);
		put_text(&row, kernels[i].release);
		put(&row, kernels[i].begin);
		put(&row, kernels[i].end);
		run_row(&row);
	}
}

static void save_store(struct database *database, uint64_t vm, struct store *store)
{
	struct store_changes *changes = store_changes(store);
	if (!changes)
		return;
	uint64_t edges_after = changes->all ? 0 : changes->edges_event;
	if (changes->all) {
		clear_vm(database, vm);
		unsave_descriptions(store);
		save_all_objects(database, vm, store, changes);
	} else {
		save_changed_objects(database, vm, store, changes);
	}
	const struct store_edge *edge;
	while (!database->failed && (edge = store_next_edge(store, edges_after))) {
		save_edge(database, vm, changes, edge);
		edges_after = edge->event;
	}
	if (!changes->all)
		save_changed_edges(database, vm, store, changes);
	for (size_t i = 0; i < changes->edges_gone->count && !changes->all; i++)
		run_on_two(database, DROP_EDGE, vm, changes->edges_gone->ids[i]);
	if (!changes->all && changes->edges_dropped != store_totals(store)->edges_dropped) {
		edge = store_next_edge(store, 0);
		run_on_two(database, DROP_EDGES, vm, edge ? edge->event : INT64_MAX);
	}
	if (changes->all || changes->gaps)
		save_gaps_and_kernels(database, vm, store);
}

// A row is written if it differs from what was written: by its hash (FNV-1a).
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
	const unsigned char *byte = bytes;
	while (length-- > 0)
		hash = (hash ^ *byte++) * 0x100000001b3;
	return hash;
}

#define HASH(hash, member) hash_bytes(hash, &(member), sizeof(member))

static uint64_t hash_vm(const struct registry_vm *vm, const struct store_scalars *scalars)
{
	uint64_t hash = 0xcbf29ce484222325;
	hash = HASH(hash, vm->agent->row);
	hash = hash_bytes(hash, vm->name, strlen(vm->name));
	hash = HASH(hash, vm->number);
	hash = HASH(hash, vm->gone);
	hash = HASH(hash, vm->described);
	hash = HASH(hash, vm->unwatched);
	hash = HASH(hash, vm->agent_state);
	hash = HASH(hash, vm->boot);
	hash = HASH(hash, vm->vcpus);
	hash = HASH(hash, vm->has_uuid);
	hash = HASH(hash, vm->uuid);
	hash = hash_bytes(hash, vm->reason, strlen(vm->reason));
	hash = hash_bytes(hash, vm->kernel, strlen(vm->kernel));
	hash = HASH(hash, vm->state_time);
	return HASH(hash, *scalars);
}

static void put_vm(struct database *database, const struct registry_vm *vm,
		   const struct store_scalars *scalars)
{
	struct row row = begin_row(database, PUT_VM);
	put(&row, vm->row);
	put(&row, vm->agent->row);
	put_text(&row, vm->name);
	put(&row, vm->number);
	put(&row, vm->gone);
	put(&row, vm->described);
	put(&row, vm->unwatched);
	put(&row, vm->agent_state);
	put(&row, vm->boot);
	put(&row, vm->vcpus);
	if (vm->has_uuid)
		put_bytes(&row, vm->uuid, sizeof(vm->uuid));
	else
		put_null(&row);
	put(&row, vm->uuid_nanoseconds);
	put(&row, vm->profile_nanoseconds);
	put(&row, vm->profile_cached);
	put_text(&row, vm->kernel);
	put_text(&row, vm->hook);
	put_text(&row, vm->reason);
	put(&row, vm->first_time);
	put(&row, vm->state_time);
	put(&row, scalars->event);
	put(&row, scalars->generation);
	for (int kind = WIRE_FILE; kind <= WIRE_ENDPOINT; kind++)
		put(&row, scalars->ever_managed[kind]);
	put(&row, scalars->edges_dropped);
	put(&row, scalars->ended_dropped);
	put(&row, scalars->descriptions);
	run_row(&row);
}

// Until it is listed, it is one of those of which the rest is deleted after a crash.
static void save_staged(struct database *database, struct registry_vm *vm)
{
	if (!vm->row)
		vm->row = ++database->last_vm;
	run_on(database, PUT_FORGOTTEN, vm->row);
	save_store(database, vm->row, vm->store);
}

static void save_vm(struct database *database, struct registry_vm *vm)
{
	struct store_scalars scalars;
	if (!vm->row) {
		vm->row = ++database->last_vm;
		vm->row_hash = 0;
	}
	if (vm->staged)
		run_on(database, DROP_FORGOTTEN, vm->row);
	save_store(database, vm->row, vm->store);
	database_save_marks(database, vm);
	store_get_scalars(vm->store, &scalars); // after it: descriptions were counted
	uint64_t hash = hash_vm(vm, &scalars);
	if (hash != vm->row_hash)
		put_vm(database, vm, &scalars);
	vm->row_hash = hash;
}

// Saving agents ------------------------------------------------------------------------------

static uint64_t hash_agent(const struct registry_agent *agent)
{
	uint64_t hash = 0xcbf29ce484222325;
	hash = HASH(hash, agent->journal_received);
	hash = HASH(hash, agent->connected_time);
	hash = HASH(hash, agent->disconnected_time);
	hash = HASH(hash, agent->process_ended);
	hash = HASH(hash, agent->restarting);
	hash = HASH(hash, agent->ignored);
	hash = HASH(hash, agent->label_bits);
	return HASH(hash, agent->left_out);
}

static void put_agent(struct database *database, const struct registry_agent *agent)
{
	struct row row = begin_row(database, PUT_AGENT);
	put(&row, agent->row);
	put_bytes(&row, agent->instance, sizeof(agent->instance));
	put(&row, (uint64_t)agent->pid);
	put(&row, agent->process_start);
	put_text(&row, database->host_boot);
	put(&row, agent->uid);
	put_text(&row, agent->program);
	put_text(&row, agent->name);
	put_text(&row, agent->run);
	put(&row, agent->process_ended);
	put(&row, agent->restarting);
	put(&row, agent->left_out);
	put(&row, agent->journal_received);
	put(&row, agent->ignored);
	put(&row, agent->connected_time);
	put(&row, agent->disconnected_time);
	put(&row, agent->heard_time);
	put(&row, agent->synced_time);
	put_bytes(&row, agent->label_bits, sizeof(agent->label_bits));
	run_row(&row);
}

static void save_labels(struct database *database, const struct labels *labels)
{
	if (memcmp(labels, &database->labels, sizeof(*labels)) == 0)
		return;
	struct row row = begin_row(database, CLEAR_LABELS);
	run_row(&row);
	for (unsigned int bit = 0; bit < LABELS; bit++) {
		if (!*labels->names[bit])
			continue;
		row = begin_row(database, PUT_LABEL);
		put(&row, bit);
		put_text(&row, labels->names[bit]);
		run_row(&row);
	}
}

// Only together with its VMs: without any there is nothing that the next daemon could know of it.
static void save_agent(struct database *database, struct registry_agent *agent)
{
	if (!agent->row) {
		agent->row = ++database->last_agent;
		agent->row_hash = 0;
	}
	uint64_t hash = hash_agent(agent);
	if (hash != agent->row_hash)
		put_agent(database, agent);
	agent->row_hash = hash;
	for (size_t i = 0; i < agent->vms_count && !database->failed; i++)
		save_vm(database, agent->vms[i]);
}

static void note_forgotten(void *context, bool is_vm, uint64_t row)
{
	struct database *database = context;
	struct id_list *list = is_vm ? &database->vms_forgotten : &database->agents_forgotten;
	id_list_add(list, row); // without memory: it is listed again after a restart
}

static void drop_forgotten(struct database *database)
{
	for (size_t i = 0; i < database->vms_forgotten.count; i++) {
		run_on(database, PUT_FORGOTTEN, database->vms_forgotten.ids[i]);
		run_on(database, DROP_VM, database->vms_forgotten.ids[i]);
	}
	for (size_t i = 0; i < database->agents_forgotten.count; i++)
		run_on(database, DROP_AGENT, database->agents_forgotten.ids[i]);
}

// The transaction ----------------------------------------------------------------------------

static bool execute(struct database *database, const char *text)
{
	return sqlite3_exec(database->connection, text, NULL, NULL, NULL) == SQLITE_OK;
}

static bool database_error(struct database *database, struct error *error, const char *what)
{
	int code = sqlite3_errcode(database->connection);
	int system = sqlite3_system_errno(database->connection);
	bool is_full = code == SQLITE_FULL || (code == SQLITE_IOERR && system == ENOSPC);
	return error_set(error, is_full ? ERROR_LIMIT : ERROR_SYSTEM, "%s %s: %s", what,
			 database->path,
			 is_full ? "the disk is full" : sqlite3_errmsg(database->connection));
}

static void note_saved(struct database *database, struct registry *registry)
{
	for (struct registry_agent *agent = registry_agents(registry); agent; agent = agent->next) {
		agent->journal_saved = agent->journal_received;
		for (size_t i = 0; i < agent->vms_count; i++) {
			store_written(agent->vms[i]->store);
			agent->vms[i]->marks.changed = false;
			agent->vms[i]->staged = false;
		}
	}
	for (struct registry_vm *vm = registry_staged(registry); vm; vm = vm->next_staged)
		store_written(vm->store);
	database->vms_forgotten.count = database->agents_forgotten.count = 0;
	database->labels = *registry_labels(registry);
	database_audit_saved(database, registry_audit(registry));
	database_alerts_done(database, true);
}

// As if it had not been tried.
static void note_unsaved(struct database *database, struct registry *registry)
{
	for (size_t i = 0; i < database->described_count; i++)
		database->described[i]->saved = 0;
	for (struct registry_agent *agent = registry_agents(registry); agent; agent = agent->next) {
		agent->row_hash = 0;
		for (size_t i = 0; i < agent->vms_count; i++)
			agent->vms[i]->row_hash = 0;
	}
	database_alerts_done(database, false);
}

// A ROLLBACK may have failed for want of memory: the transaction that it was to end goes on, and no other begins.
static bool begin_transaction(struct database *database)
{
	if (!sqlite3_get_autocommit(database->connection) && !execute(database, "ROLLBACK"))
		return false;
	return execute(database, "BEGIN IMMEDIATE");
}

bool database_save(struct database *database, struct registry *registry, struct error *error)
{
	database->failed = database->wrote = false;
	database->described_count = 0;
	if (!begin_transaction(database)) {
		database_error(database, error, "cannot write");
		database_alerts_done(database, false);
		return false;
	}
	drop_forgotten(database);
	save_labels(database, registry_labels(registry));
	for (struct registry_agent *agent = registry_agents(registry); agent && !database->failed;
	     agent = agent->next)
		save_agent(database, agent);
	for (struct registry_vm *vm = registry_staged(registry); vm && !database->failed;
	     vm = vm->next_staged)
		save_staged(database, vm);
	if (!database->failed)
		database_save_audit(database, registry_audit(registry));
	if (!database->failed)
		database_save_alerts(database);
	if (!database->failed && execute(database, "COMMIT")) {
		note_saved(database, registry);
		return true;
	}
	database_error(database, error, "cannot write");
	note_unsaved(database, registry);
	for (int which = 0; which < STATEMENTS; which++)
		sqlite3_reset(database->statements[which]);
	execute(database, "ROLLBACK"); // SQLite may have done that by itself
	return false;
}

// What can wait ------------------------------------------------------------------------------

static uint64_t ask(struct database *database, enum statement which)
{
	struct row row = begin_row(database, which);
	uint64_t number = next_row(&row) ? get(&row) : 0;
	sqlite3_reset(row.statement);
	return number;
}

static bool is_staged(const struct registry *registry, uint64_t row)
{
	const struct registry_vm *vm = registry_staged(registry);
	while (vm && vm->row != row)
		vm = vm->next_staged;
	return vm;
}

static uint64_t find_forgotten(struct database *database, const struct registry *registry)
{
	struct row row = begin_row(database, GET_FORGOTTEN);
	uint64_t vm = 0;
	while (!vm && next_row(&row)) {
		vm = get(&row);
		if (is_staged(registry, vm))
			vm = 0;
	}
	sqlite3_reset(row.statement);
	return vm;
}

// A piece of what a VM that is listed no more has left. False: there is no such VM, or it failed.
static bool cut_forgotten(struct database *database, const struct registry *registry)
{
	uint64_t vm = find_forgotten(database, registry);
	int rows = 0;
	if (!vm || database->failed || !begin_transaction(database))
		return false;
	for (int which = CUT_DESCRIPTIONS; which <= CUT_EDGES && rows == 0; which++) {
		run_on(database, (enum statement)which, vm);
		rows = sqlite3_changes(database->connection);
	}
	if (rows == 0) {
		clear_vm(database, vm);
		run_on(database, CLEAR_MARKS, vm);
		run_on(database, DROP_FORGOTTEN, vm);
	}
	if (!database->failed && execute(database, "COMMIT"))
		return true;
	for (int which = 0; which < STATEMENTS; which++)
		sqlite3_reset(database->statements[which]);
	execute(database, "ROLLBACK");
	return false;
}

// In SQLite's steps, of which each one gives one page back.
static bool shrink(struct database *database)
{
	char text[64];
	uint64_t pages = ask(database, GET_PAGES), free_pages = ask(database, GET_FREE_PAGES);
	bool many = free_pages > SHRINK_SMALLEST && free_pages > pages / 8;
	bool enough = free_pages <= SHRINK_SMALLEST / 2 || free_pages <= pages / 32;
	database->shrinking = database->shrinks && (many || (database->shrinking && !enough));
	if (!database->shrinking)
		return false;
	snprintf(text, sizeof(text), "PRAGMA incremental_vacuum(%d)", SHRINK_PAGES);
	if (!execute(database, text))
		return false; // what does not go now goes later
	if (free_pages > SHRINK_PAGES)
		return true;
	execute(database, "PRAGMA wal_checkpoint(PASSIVE)"); // the file's end is cut off by that
	return false;
}

bool database_tidy(struct database *database, const struct registry *registry)
{
	database->failed = false;
	return cut_forgotten(database, registry) || shrink(database);
}

bool database_get_usage(struct database *database, struct database_usage *usage)
{
	uint64_t size = ask(database, GET_PAGE_SIZE), pages = ask(database, GET_PAGES);
	uint64_t free_pages = ask(database, GET_FREE_PAGES);
	*usage = (struct database_usage){
		.used = (pages - free_pages) * size,
		.free = free_pages * size,
		.shrinks = database->shrinks,
	};
	return !database->failed;
}

// Loading ------------------------------------------------------------------------------------

// Of a VM or an agent: 0 is that of one that has none yet, and further ones are counted after the last.
static bool is_row(uint64_t row)
{
	return row > 0 && row <= ROW_MAXIMUM;
}

// `last` is the number of the newest, after which the next ones are counted.
static bool load_descriptions(struct database *database, uint64_t vm, struct map *descriptions, uint64_t last)
{
	struct row row = begin_row(database, GET_DESCRIPTIONS);
	put(&row, vm);
	while (next_row(&row)) {
		struct description *description = get_description(&row);
		if (!description)
			return false;
		if (!description_kind_is_known(description->fields.kind) || !description->saved || description->saved > last ||
		    map_get(descriptions, description->saved) || !map_set(descriptions, description->saved, description)) {
			description_release(description);
			return false;
		}
	}
	return true;
}

static bool load_objects(struct database *database, uint64_t vm, struct store *store,
			 const struct map *descriptions)
{
	struct row row = begin_row(database, GET_OBJECTS);
	put(&row, vm);
	while (next_row(&row)) {
		struct store_object object = {.id = get(&row)};
		object.labels = get(&row);
		object.ended = get(&row);
		object.ended_time = get(&row);
		object.description = map_get(descriptions, get(&row));
		if (!object.description || !store_restore_object(store, &object))
			return false;
	}
	return true;
}

static bool load_numbers(struct database *database, uint64_t vm, struct store *store)
{
	struct row row = begin_row(database, GET_NUMBERS);
	put(&row, vm);
	while (next_row(&row)) {
		uint32_t number = (uint32_t)get(&row), generation = (uint32_t)get(&row);
		const struct store_object *object = store_object(store, get(&row));
		if (!object ||
		    !store_restore_number(store, (struct store_object *)object, number, generation))
			return false;
	}
	return true;
}

static bool load_ended(struct database *database, uint64_t vm, struct store *store)
{
	struct row row = begin_row(database, GET_ENDED);
	put(&row, vm);
	while (next_row(&row))
		if (!store_restore_ended(store, get(&row)))
			return false;
	return true;
}

static struct description *find_description(const struct map *descriptions, uint64_t id)
{
	return id ? map_get(descriptions, id) : (struct description *)&description_unknown;
}

static bool load_edges(struct database *database, uint64_t vm, struct store *store,
		       const struct map *descriptions)
{
	struct row row = begin_row(database, GET_EDGES);
	put(&row, vm);
	while (next_row(&row)) {
		struct store_edge edge = {.event = get(&row)};
		edge.sequence = get(&row);
		edge.time = get(&row);
		edge.labels = get(&row);
		bool marked = get_is_null(&row);
		uint64_t from = get(&row);
		edge.from = marked ? NULL : find_description(descriptions, from);
		edge.to = find_description(descriptions, get(&row));
		edge.cause = get_text(&row);
		edge.bytes = get(&row);
		if ((!marked && !edge.from) || !edge.to || !store_restore_edge(store, &edge))
			return false;
	}
	return true;
}

static bool load_gaps_and_kernels(struct database *database, uint64_t vm, struct store *store)
{
	struct row row = begin_row(database, GET_GAPS);
	put(&row, vm);
	while (next_row(&row)) {
		struct store_gap gap;
		get_copy(&row, gap.kind, sizeof(gap.kind));
		get_copy(&row, gap.detail, sizeof(gap.detail));
		gap.count = get(&row);
		gap.first_time = get(&row);
		gap.last_time = get(&row);
		if (!store_restore_gap(store, &gap))
			return false;
	}
	row = begin_row(database, GET_KERNELS);
	put(&row, vm);
	while (next_row(&row)) {
		struct store_kernel kernel;
		get_copy(&row, kernel.release, sizeof(kernel.release));
		kernel.begin = get(&row);
		kernel.end = get(&row);
		if (!store_restore_kernel(store, &kernel))
			return false;
	}
	row = begin_row(database, GET_PERIODS);
	put(&row, vm);
	while (next_row(&row)) {
		struct store_period period = {.begin = get(&row)};
		period.end = get(&row);
		get_copy(&row, period.reason, sizeof(period.reason));
		if (!store_restore_period(store, &period))
			return false;
	}
	return true;
}

static void give_back(void *description)
{
	description_release(description);
}

static bool load_store(struct database *database, uint64_t vm, struct store *store,
		       const struct store_scalars *scalars)
{
	struct map descriptions = {0};
	store_restore_scalars(store, scalars);
	bool done = load_descriptions(database, vm, &descriptions, scalars->descriptions) &&
		    load_objects(database, vm, store, &descriptions) &&
		    load_numbers(database, vm, store) && load_ended(database, vm, store) &&
		    load_edges(database, vm, store, &descriptions) &&
		    load_gaps_and_kernels(database, vm, store);
	map_deinit_values(&descriptions, give_back); // the store holds what it uses
	return done && !database->failed;
}

static void get_vm(struct row *row, struct registry_vm *vm, struct store_scalars *scalars)
{
	vm->row = get(row);
	get(row); // the agent
	get_copy(row, vm->name, sizeof(vm->name));
	vm->number = (uint16_t)get(row);
	vm->gone = get(row);
	vm->described = get(row);
	vm->unwatched = get(row);
	vm->agent_state = (uint32_t)get(row);
	vm->boot = (uint32_t)get(row);
	vm->vcpus = (uint32_t)get(row);
	vm->has_uuid = !get_is_null(row);
	get_bytes(row, vm->uuid, sizeof(vm->uuid));
	vm->uuid_nanoseconds = get(row);
	vm->profile_nanoseconds = get(row);
	vm->profile_cached = get(row);
	get_copy(row, vm->kernel, sizeof(vm->kernel));
	get_copy(row, vm->hook, sizeof(vm->hook));
	get_copy(row, vm->reason, sizeof(vm->reason));
	vm->first_time = get(row);
	vm->state_time = get(row);
	scalars->event = get(row);
	scalars->generation = (uint32_t)get(row);
	for (int kind = WIRE_FILE; kind <= WIRE_ENDPOINT; kind++)
		scalars->ever_managed[kind] = get(row);
	scalars->edges_dropped = get(row);
	scalars->ended_dropped = get(row);
	scalars->descriptions = get(row);
}

static bool load_vms(struct database *database, struct registry *registry,
		     struct registry_agent *agent)
{
	struct row row = begin_row(database, GET_VMS);
	put(&row, agent->row);
	while (next_row(&row)) {
		struct registry_vm saved = {0};
		struct store_scalars scalars = {0};
		get_vm(&row, &saved, &scalars);
		struct registry_vm *vm = is_row(saved.row) ? registry_restore_vm(registry, agent, &saved) : NULL;
		if (!vm || !load_store(database, vm->row, vm->store, &scalars) ||
		    !database_load_marks(database, vm))
			return false;
		if (vm->row > database->last_vm)
			database->last_vm = vm->row;
	}
	return true;
}

static bool get_label_bits(struct row *row, int8_t bits[LABELS])
{
	const void *value = sqlite3_column_blob(row->statement, row->column);
	if (!value || sqlite3_column_bytes(row->statement, row->column) != LABELS)
		return false;
	memcpy(bits, value, LABELS);
	for (unsigned int bit = 0; bit < LABELS; bit++)
		if (bits[bit] < -1 || bits[bit] >= LABELS)
			return false;
	return true;
}

static bool get_agent(struct database *database, struct row *row, struct registry_agent *agent)
{
	agent->row = get(row);
	get_bytes(row, agent->instance, sizeof(agent->instance));
	agent->pid = (pid_t)get(row);
	agent->process_start = get(row);
	bool same_boot = strcmp(get_text(row), database->host_boot) == 0;
	agent->uid = (uid_t)get(row);
	agent->program = (char *)get_text(row);
	agent->name = (char *)get_text(row);
	agent->run = (char *)get_text(row);
	agent->process_ended = get(row) || !same_boot;
	agent->restarting = get(row);
	agent->left_out = get(row);
	agent->journal_received = agent->journal_saved = get(row);
	agent->ignored = get(row);
	agent->connected_time = get(row);
	agent->disconnected_time = get(row);
	agent->heard_time = get(row);
	agent->synced_time = get(row);
	return get_label_bits(row, agent->label_bits);
}

static bool load_agents(struct database *database, struct registry *registry)
{
	struct row row = begin_row(database, GET_AGENTS);
	while (next_row(&row)) {
		struct registry_agent saved = {0};
		struct registry_agent *agent = get_agent(database, &row, &saved) && is_row(saved.row)
						       ? registry_restore_agent(registry, &saved)
						       : NULL;
		if (!agent)
			return false;
		if (agent->row > database->last_agent)
			database->last_agent = agent->row;
		if (!load_vms(database, registry, agent))
			return false;
	}
	return true;
}

static bool load_labels(struct database *database, struct labels *labels)
{
	struct row row = begin_row(database, GET_LABELS);
	while (next_row(&row)) {
		uint64_t bit = get(&row);
		const char *name = get_text(&row);
		if (bit >= LABELS || !*name || strlen(name) >= LABEL_NAME_SIZE ||
		    (bit == 0) != (strcmp(name, labels->names[0]) == 0))
			return false;
		strcpy(labels->names[bit], name);
	}
	return true;
}

static uint64_t realtime(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

bool database_load(struct database *database, struct registry *registry, struct alerts *alerts,
		   struct error *error)
{
	database->failed = false;
	registry_set_forgotten(registry, note_forgotten, database);
	database->last_vm = ask(database, GET_LAST_FORGOTTEN);
	bool done = database->last_vm <= ROW_MAXIMUM && load_labels(database, registry_labels(registry)) &&
		    load_agents(database, registry) &&
		    database_load_audit(database, registry_audit(registry)) &&
		    database_load_alerts(database, alerts) &&
		    !database->failed;
	for (int which = 0; which < STATEMENTS; which++)
		sqlite3_reset(database->statements[which]);
	if (!done)
		return error_set(
			error, ERROR_INVALID,
			"the database %s contradicts itself, or is larger than memory: move "
			"it away, or restore it; nothing in it was changed",
			database->path);
	registry_finish_restoring(registry, process_is_running, realtime());
	return true;
}

// Opening ------------------------------------------------------------------------------------

static bool make_directory(const char *directory, struct error *error)
{
	struct stat status;
	if (mkdir(directory, 0700) != 0 && errno != EEXIST)
		return error_set_errno(error, "cannot make the directory %s", directory);
	if (stat(directory, &status) != 0)
		return error_set_errno(error, "cannot look at %s", directory);
	if (!S_ISDIR(status.st_mode))
		return error_set(error, ERROR_INVALID, "%s is no directory", directory);
	if ((status.st_uid != geteuid() && status.st_uid != 0) || status.st_mode & S_IWOTH)
		return error_set(
			error, ERROR_INVALID,
			"others can write to the directory %s: the state is not safe there",
			directory);
	return true;
}

static bool ask_number(struct database *database, const char *text, int64_t *number)
{
	sqlite3_stmt *statement;
	if (sqlite3_prepare_v2(database->connection, text, -1, &statement, NULL) != SQLITE_OK)
		return false;
	bool found = sqlite3_step(statement) == SQLITE_ROW;
	if (found)
		*number = sqlite3_column_int64(statement, 0);
	return sqlite3_finalize(statement) == SQLITE_OK && found;
}

static bool is_damaged(struct database *database)
{
	sqlite3_stmt *statement;
	if (sqlite3_prepare_v2(database->connection, "PRAGMA quick_check(1)", -1, &statement,
			       NULL) != SQLITE_OK)
		return true;
	const char *text = sqlite3_step(statement) == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
	bool fine = text && strcmp(text, "ok") == 0;
	return sqlite3_finalize(statement) != SQLITE_OK || !fine;
}

static bool refuse(struct database *database, struct error *error)
{
	int code = sqlite3_errcode(database->connection);
	if (code == SQLITE_BUSY)
		return error_set(error, ERROR_LIMIT,
				 "another program uses the database %s: another nijimid? (give "
				 "another --state)",
				 database->path);
	if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
		return error_set(
			error, ERROR_INVALID,
			"the database %s is damaged (%s): restore it from a backup, or move "
			"it away to begin anew; nothing in it was changed",
			database->path, sqlite3_errmsg(database->connection));
	return database_error(database, error, "cannot open");
}

// What is there is looked at before anything is written.
static bool check_file(struct database *database, int64_t *version, struct error *error)
{
	int64_t application, tables;
	if (!ask_number(database, "PRAGMA application_id", &application) ||
	    !ask_number(database, "PRAGMA user_version", version) ||
	    !ask_number(database, "SELECT count(*) FROM sqlite_schema", &tables))
		return refuse(database, error);
	if (tables == 0 && *version == 0 && application == 0)
		return true;
	if (application != APPLICATION_ID)
		return error_set(error, ERROR_INVALID,
				 "%s is no database of nijimi's; it was left as it is",
				 database->path);
	if (*version > DATABASE_SCHEMA)
		return error_set(error, ERROR_UNSUPPORTED,
				 "the database %s was made by a newer nijimid (its schema is %lld, "
				 "this one knows %d): use that one; nothing in it was changed",
				 database->path, (long long)*version, DATABASE_SCHEMA);
	bool damaged = *version < 1 || is_damaged(database); // those of ours are counted from 1
	if (damaged && sqlite3_errcode(database->connection) == SQLITE_NOMEM)
		return refuse(database, error);
	if (damaged)
		return error_set(error, ERROR_INVALID,
				 "the database %s is damaged: restore it from a backup, or move it "
				 "away to begin anew; nothing in it was changed",
				 database->path);
	return true;
}

static bool migrate(struct database *database, int64_t version, struct error *error)
{
	if (version == DATABASE_SCHEMA)
		return true;
	bool done = execute(database, "BEGIN IMMEDIATE");
	for (int64_t step = version; step < DATABASE_SCHEMA && done; step++)
		done = execute(database, database_migrations[step]);
	char text[120];
	snprintf(text, sizeof(text), "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
		 APPLICATION_ID, DATABASE_SCHEMA);
	if (done && execute(database, text))
		return true;
	database_error(database, error, "cannot write");
	execute(database, "ROLLBACK");
	return false;
}

static bool prepare_statements(struct database *database, struct error *error)
{
	for (int which = 0; which < STATEMENTS; which++)
		if (sqlite3_prepare_v3(database->connection, statement_texts[which], -1,
				       SQLITE_PREPARE_PERSISTENT, &database->statements[which],
				       NULL) != SQLITE_OK)
			return refuse(database, error);
	return true;
}

// Which boot of the host this is: a pid of another one means nothing.
static void read_host_boot(char text[HOST_BOOT_SIZE])
{
	cleanup_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd >= 0 ? read(fd, text, HOST_BOOT_SIZE - 1) : 0;
	text[length > 0 ? length : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
}

// What a copy was restored to may have lost it, and only a VACUUM brings it back. Without room for
// that the file stays as it is, and does not shrink.
static bool enable_shrinking(struct database *database, int64_t version, struct error *error)
{
	enum { INCREMENTAL = 2 };
	int64_t mode;
	if (!ask_number(database, "PRAGMA auto_vacuum", &mode))
		return refuse(database, error);
	if (mode != INCREMENTAL) {
		execute(database, "PRAGMA auto_vacuum = INCREMENTAL");
		if (version > 0)
			execute(database, "VACUUM");
	}
	database->shrinks = version == 0 ||
			    (ask_number(database, "PRAGMA auto_vacuum", &mode) &&
			     mode == INCREMENTAL);
	return true;
}

static bool connect_file(struct database *database, struct error *error)
{
	int64_t version, ignored;
	// Made before SQLite would, so that nobody else can read it; the WAL gets the same mode.
	// Closed before SQLite opens it: closing it later would give up SQLite's locks (fcntl(2)).
	int fd = open(database->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set_errno(error, "cannot open %s", database->path);
	close(fd);
	if (sqlite3_open_v2(database->path, &database->connection,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
			    NULL) != SQLITE_OK)
		return refuse(database, error);
	// Not even its WAL is touched before it is known to be ours.
	sqlite3_db_config(database->connection, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	// Kept until the end: a second daemon on the same state is refused.
	if (!execute(database, "PRAGMA locking_mode = EXCLUSIVE") ||
	    !check_file(database, &version, error))
		return error->code ? false : refuse(database, error);
	if (!enable_shrinking(database, version, error))
		return false;
	if (!execute(database, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			       "PRAGMA journal_size_limit = 16777216") ||
	    !ask_number(database, "PRAGMA user_version", &ignored))
		return refuse(database, error);
	if (!migrate(database, version, error) || !prepare_statements(database, error))
		return false;
	sqlite3_db_config(database->connection, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	return true;
}

struct database *database_open(const char *directory, struct error *error)
{
	struct database *database = calloc(1, sizeof(*database));
	if (!database) {
		error_set(error, ERROR_MEMORY, "no memory for the database");
		return NULL;
	}
	struct error own_error = {0};
	read_host_boot(database->host_boot);
	if (snprintf(database->path, sizeof(database->path), "%s/nijimi.db", directory) >=
	    (int)sizeof(database->path))
		error_set(&own_error, ERROR_INVALID, "the path %s is too long", directory);
	else if (make_directory(directory, &own_error) && connect_file(database, &own_error))
		return database;
	if (error)
		*error = own_error;
	database_close(database);
	return NULL;
}

void database_close(struct database *database)
{
	if (!database)
		return;
	for (int which = 0; which < STATEMENTS; which++)
		sqlite3_finalize(database->statements[which]);
	sqlite3_close(database->connection);
	id_list_deinit(&database->agents_forgotten);
	id_list_deinit(&database->vms_forgotten);
	free(database->described);
	free(database);
}
