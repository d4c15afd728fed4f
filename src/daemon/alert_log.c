/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/alert_log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { PLACES = ALERT_LOG_RECORDS + ALERT_LOG_SLACK };

/** Where a record lies. */
struct place {
	uint64_t vm;
	size_t index;
};

/** What one VM has of the log: what could go lies at some of the places. */
struct portion {
	size_t weight;
	size_t next, end;
};

struct alert_log {
	struct deliveries *deliveries;
	struct alert_record *records[PLACES];
	size_t count, bytes;
	uint64_t key;		     // of hashes
	struct place places[PLACES]; // to make room
	struct portion portions[PLACES];
	uint64_t last;	   // id
	uint64_t released; // id: up to it they were handed over to delivery
	uint64_t dropped;  // alerts

	bool tracked, all;
	struct id_list added, repeated, gone;
};

struct alert_log *alert_log_create(struct deliveries *deliveries)
{
	struct alert_log *log = calloc(1, sizeof(*log));
	if (!log)
		return NULL;
	log->deliveries = deliveries;
	if (getrandom(&log->key, sizeof(log->key), GRND_NONBLOCK) != sizeof(log->key))
		log->key = (uintptr_t)log;
	return log;
}

static void free_record(struct alert_record *record)
{
	deliver_release(record->shared);
	free(record);
}

uint64_t alert_log_vm(const struct alert_log *log, const char *name)
{
	return XXH3_64bits_withSeed(name, strlen(name), log->key);
}

void alert_log_destroy(struct alert_log *log)
{
	if (!log)
		return;
	for (size_t i = 0; i < log->count; i++)
		free_record(log->records[i]);
	id_list_deinit(&log->added);
	id_list_deinit(&log->repeated);
	id_list_deinit(&log->gone);
	free(log);
}

// The index of the first record with an id greater than `after`.
static size_t index_after(const struct alert_log *log, uint64_t after)
{
	size_t low = 0, high = log->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (log->records[middle]->id > after)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static struct alert_record *find(const struct alert_log *log, uint64_t id)
{
	size_t index = id ? index_after(log, id - 1) : log->count;
	return index < log->count && log->records[index]->id == id ? log->records[index] : NULL;
}

static void note(struct alert_log *log, struct id_list *list, uint64_t id)
{
	if (log->tracked && !log->all &&
	    (list->count == STORE_CHANGES_MAXIMUM || !id_list_add(list, id)))
		log->all = true;
}

// Making room --------------------------------------------------------------------------------

static bool is_over(const struct alert_log *log, size_t records, size_t bytes, size_t size)
{
	return log->count > records || log->bytes + size > bytes;
}

static bool is_wanted(const struct alert_log *log, const struct alert_record *record)
{
	return !record->held_back &&
	       (record->id > log->released || deliver_is_awaited(record->shared));
}

// What nobody waits for, or also what somebody does. False: it stays.
static bool give_up(struct alert_log *log, const struct alert_record *record, bool wanted_too)
{
	if (!is_wanted(log, record))
		return true;
	if (!wanted_too)
		return false;
	if (record->id <= log->released)
		return deliveries_drop(log->deliveries, record->shared);
	deliveries_lose(log->deliveries);
	return true;
}

// A record has a size, and is one of so many.
static size_t weight_of(const struct alert_record *record)
{
	return deliver_size(record->shared) + ALERT_LOG_BYTES / ALERT_LOG_RECORDS;
}

static int compare_places(const void *first, const void *second)
{
	const struct place *a = first, *b = second;
	if (a->vm != b->vm)
		return a->vm < b->vm ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

// By VMs; the places that are left are of what may go. Returns how many VMs there are.
static size_t divide(struct alert_log *log, bool wanted_too)
{
	uint64_t vm = 0;
	size_t vms = 0, used = 0;
	for (size_t i = 0; i < log->count; i++)
		log->places[i] = (struct place){log->records[i]->vm, i};
	qsort(log->places, log->count, sizeof(log->places[0]), compare_places);
	for (size_t i = 0; i < log->count; i++) {
		struct place place = log->places[i];
		const struct alert_record *record = log->records[place.index];
		if (i == 0 || place.vm != vm)
			log->portions[vms++] = (struct portion){.next = used, .end = used};
		vm = place.vm;
		struct portion *portion = &log->portions[vms - 1];
		portion->weight += weight_of(record);
		if (!wanted_too && is_wanted(log, record))
			continue;
		log->places[used++] = place;
		portion->end = used;
	}
	return vms;
}

static struct portion *heaviest(struct alert_log *log, size_t count)
{
	struct portion *found = NULL;
	for (size_t i = 0; i < count; i++) {
		struct portion *portion = &log->portions[i];
		if (portion->next < portion->end && (!found || portion->weight > found->weight))
			found = portion;
	}
	return found;
}

static void drop(struct alert_log *log, size_t index)
{
	struct alert_record *record = log->records[index];
	log->records[index] = NULL;
	log->count--;
	log->bytes -= deliver_size(record->shared);
	log->dropped += record->listed;
	if (record->written)
		note(log, &log->gone, record->id);
	free_record(record);
}

static void sweep(struct alert_log *log, size_t size, bool wanted_too)
{
	enum { BYTES = ALERT_LOG_BYTES - ALERT_LOG_BYTES / 16 };
	size_t kept = 0, count = log->count, vms = divide(log, wanted_too);
	struct portion *portion;
	while (is_over(log, ALERT_LOG_RECORDS, BYTES, size) && (portion = heaviest(log, vms))) {
		size_t index = log->places[portion->next++].index;
		size_t weight = weight_of(log->records[index]);
		if (!give_up(log, log->records[index], wanted_too))
			continue;
		portion->weight -= weight;
		drop(log, index);
	}
	for (size_t i = 0; i < count; i++)
		if (log->records[i])
			log->records[kept++] = log->records[i];
}

static void make_room(struct alert_log *log, size_t size)
{
	enum { RECORDS = PLACES - 1 };
	for (int wanted_too = 0; wanted_too <= 1; wanted_too++)
		if (is_over(log, RECORDS, ALERT_LOG_BYTES, size))
			sweep(log, size, wanted_too);
}

// Adding -------------------------------------------------------------------------------------

static void release(struct alert_log *log)
{
	size_t index = index_after(log, log->released);
	log->released = log->last;
	for (; index < log->count; index++)
		if (!log->records[index]->held_back)
			deliveries_put(log->deliveries, log->records[index]->shared);
}

static bool append(struct alert_log *log, const struct alert_record *fields,
		   const struct deliver_record *texts)
{
	struct alert_record *record = malloc(sizeof(*record));
	struct deliver_shared *shared = record ? deliver_share(texts) : NULL;
	if (!shared) {
		free(record);
		return false;
	}
	*record = *fields;
	record->shared = shared;
	record->vm = alert_log_vm(log, texts->vm);
	log->records[log->count++] = record;
	log->bytes += deliver_size(shared);
	return true;
}

uint64_t alert_log_next_id(const struct alert_log *log)
{
	return log->last + 1;
}

bool alert_log_add(struct alert_log *log, const struct deliver_record *record, bool listed,
		   bool held_back)
{
	struct deliver_record texts = *record;
	make_room(log, strlen(record->json) + strlen(record->text));
	texts.id = ++log->last;
	const struct alert_record fields = {
		.id = texts.id, .listed = listed, .held_back = held_back};
	bool done = append(log, &fields, &texts);
	if (done)
		note(log, &log->added, texts.id);
	else
		deliveries_lose(log->deliveries);
	if (!log->tracked)
		release(log);
	return done;
}

void alert_log_repeat(struct alert_log *log, uint64_t id, uint64_t time)
{
	struct alert_record *record = find(log, id);
	if (!record)
		return;
	record->repeated++;
	record->last_time = time;
	if (!record->repeats_changed)
		note(log, &log->repeated, id);
	record->repeats_changed = true;
}

void alert_log_set_repeats(struct alert_log *log, uint64_t id, uint64_t repeated, uint64_t time)
{
	if (repeated == 0)
		return;
	alert_log_repeat(log, id, time);
	alert_log_restore_repeats(log, id, repeated, time);
}

// Asking -------------------------------------------------------------------------------------

const struct alert_record *alert_log_find(const struct alert_log *log, uint64_t id)
{
	return find(log, id);
}

const struct alert_record *alert_log_next_record(const struct alert_log *log, uint64_t after)
{
	size_t index = index_after(log, after);
	return index < log->count ? log->records[index] : NULL;
}

const struct alert_record *alert_log_next(const struct alert_log *log, uint64_t after)
{
	for (size_t index = index_after(log, after); index < log->count; index++)
		if (log->records[index]->listed)
			return log->records[index];
	return NULL;
}

uint64_t alert_log_before_last(const struct alert_log *log, uint64_t count)
{
	uint64_t after = log->last;
	for (size_t index = log->count; index > 0 && count > 0; index--) {
		if (!log->records[index - 1]->listed)
			continue;
		after = log->records[index - 1]->id - 1;
		count--;
	}
	return after;
}

uint64_t alert_log_last(const struct alert_log *log)
{
	return log->last;
}

uint64_t alert_log_dropped(const struct alert_log *log)
{
	return log->dropped;
}

void alert_log_set_destinations(struct alert_log *log, const struct policy *policy)
{
	deliveries_set(log->deliveries, policy, log->released);
	for (size_t i = 0; i < log->count && log->records[i]->id <= log->released; i++)
		if (!log->records[i]->held_back)
			deliveries_refill(log->deliveries, log->records[i]->shared);
	deliveries_refilled(log->deliveries);
}

// For the database ---------------------------------------------------------------------------

void alert_log_track(struct alert_log *log)
{
	log->tracked = true;
}

bool alert_log_changes(const struct alert_log *log, struct alert_log_changes *changes)
{
	*changes = (struct alert_log_changes){log->all, &log->added, &log->repeated, &log->gone};
	return log->all || log->added.count || log->repeated.count || log->gone.count;
}

void alert_log_written(struct alert_log *log, bool done)
{
	for (size_t i = 0; done && log->all && i < log->count; i++) {
		log->records[i]->written = true;
		log->records[i]->repeats_changed = false;
	}
	for (size_t i = 0; done && i < log->added.count; i++) {
		struct alert_record *record = find(log, log->added.ids[i]);
		if (record)
			record->written = true;
	}
	for (size_t i = 0; done && i < log->repeated.count; i++) {
		struct alert_record *record = find(log, log->repeated.ids[i]);
		if (record)
			record->repeats_changed = false;
	}
	if (done) {
		log->all = false;
		log->added.count = log->repeated.count = log->gone.count = 0;
	}
	release(log);
}

bool alert_log_restore(struct alert_log *log, const struct alert_record *saved,
		       const struct deliver_record *record)
{
	struct alert_record fields = *saved;
	fields.written = true;
	if (record->id != saved->id || saved->id <= log->last || log->count == PLACES ||
	    !append(log, &fields, record))
		return false;
	log->last = log->released = saved->id;
	return true;
}

bool alert_log_restore_repeats(struct alert_log *log, uint64_t id, uint64_t repeated,
			       uint64_t last_time)
{
	struct alert_record *record = find(log, id);
	if (!record)
		return false;
	record->repeated = repeated;
	record->last_time = last_time;
	return true;
}

bool alert_log_restore_last(struct alert_log *log, uint64_t last, uint64_t dropped)
{
	if (last < log->last)
		return false;
	log->last = log->released = last;
	log->dropped = dropped;
	return true;
}

void alert_log_skip_to(struct alert_log *log, uint64_t id)
{
	if (id > log->last)
		log->last = id;
}
