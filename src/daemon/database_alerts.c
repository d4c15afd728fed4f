/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <json-c/json.h>
#include <time.h>

#include "base/text.h"
#include "daemon/alert_check.h"
#include "daemon/database_internal.h"

/** The row of alert_numbers. */
struct numbers {
	uint64_t last;
	uint64_t exact;
	uint64_t dropped;
	struct alerts_numbers alerts;
};

_Static_assert(sizeof(struct numbers) <= sizeof(((struct database_alerts *)0)->numbers),
	       "a place for what was written");

// Saving -------------------------------------------------------------------------------------

static void put_alert(struct database *database, const struct alert_record *alert)
{
	const struct deliver_record *record = deliver_record_of(alert->shared);
	struct row row = begin_row(database, PUT_ALERT);
	put(&row, alert->id);
	put(&row, alert->listed);
	put(&row, alert->held_back);
	put_text(&row, record->json);
	put_text(&row, record->text);
	put_text(&row, record->vm);
	put_text(&row, record->label);
	put_text(&row, record->sink);
	run_row(&row);
}

static void put_repeats(struct database *database, const struct alert_record *alert)
{
	struct row row = begin_row(database, PUT_ALERT_REPEATS);
	put(&row, alert->id);
	put(&row, alert->repeated);
	put(&row, alert->last_time);
	run_row(&row);
}

static void clear(struct database *database, enum statement which)
{
	struct row row = begin_row(database, which);
	run_row(&row);
}

static void save_whole_log(struct database *database, const struct alert_log *log)
{
	const struct alert_record *alert;
	clear(database, CLEAR_ALERTS);
	clear(database, CLEAR_ALERT_REPEATS);
	for (uint64_t id = 0; !database->failed && (alert = alert_log_next_record(log, id));
	     id = alert->id) {
		put_alert(database, alert);
		if (alert->repeated)
			put_repeats(database, alert);
	}
}

static void save_log(struct database *database, const struct alert_log *log)
{
	const struct alert_record *alert;
	struct alert_log_changes changes;
	if (!alert_log_changes(log, &changes))
		return;
	if (changes.all) {
		save_whole_log(database, log);
		return;
	}
	for (size_t i = 0; i < changes.dropped->count; i++) {
		run_on(database, DROP_ALERT, changes.dropped->ids[i]);
		run_on(database, DROP_ALERT_REPEATS, changes.dropped->ids[i]);
	}
	for (size_t i = 0; i < changes.added->count && !database->failed; i++)
		if ((alert = alert_log_find(log, changes.added->ids[i])))
			put_alert(database, alert);
	for (size_t i = 0; i < changes.repeated->count && !database->failed; i++)
		if ((alert = alert_log_find(log, changes.repeated->ids[i])))
			put_repeats(database, alert);
}

static void save_seen(struct database *database, const struct alerts *alerts)
{
	const struct alerts_seen *seen;
	for (size_t place = 0; !database->failed && (seen = alerts_changed_seen(alerts, &place));
	     place++) {
		struct row row = begin_row(database, PUT_ALERT_SEEN);
		put(&row, place);
		put(&row, seen->hash);
		put(&row, seen->time);
		put(&row, seen->alert);
		run_row(&row);
	}
}

static void save_destinations(struct database *database)
{
	struct database_alerts *saved = &database->alerts;
	memset(saved->saving_states, 0, sizeof(saved->saving_states));
	saved->saving_count =
		deliveries_states(alerts_deliveries(saved->alerts), saved->saving_states);
	if (saved->saving_count == saved->state_count &&
	    memcmp(saved->saving_states, saved->states, sizeof(saved->states)) == 0)
		return;
	clear(database, CLEAR_ALERT_DESTINATIONS);
	for (size_t i = 0; i < saved->saving_count; i++) {
		const struct deliver_state *state = &saved->saving_states[i];
		struct row row = begin_row(database, PUT_ALERT_DESTINATION);
		put_bytes(&row, state->identity, sizeof(state->identity));
		put(&row, state->confirmed);
		put(&row, state->delivered);
		put(&row, state->lost);
		run_row(&row);
	}
}

static void save_numbers(struct database *database)
{
	struct database_alerts *saved = &database->alerts;
	const struct alert_log *log = alerts_log(saved->alerts);
	struct numbers numbers = {
		.last = alert_log_last(log),
		.exact = saved->ended,
		.dropped = alert_log_dropped(log),
	};
	alerts_get_numbers(saved->alerts, &numbers.alerts);
	memcpy(saved->saving, &numbers, sizeof(numbers));
	if (memcmp(saved->saving, saved->numbers, sizeof(saved->numbers)) == 0)
		return;
	struct row row = begin_row(database, PUT_ALERT_NUMBERS);
	put(&row, numbers.last);
	put(&row, numbers.exact);
	put(&row, numbers.dropped);
	put(&row, numbers.alerts.key);
	put(&row, numbers.alerts.raised);
	put(&row, numbers.alerts.held_back);
	put(&row, numbers.alerts.window_end);
	put(&row, numbers.alerts.window_count);
	put(&row, numbers.alerts.window_held);
	run_row(&row);
}

void database_save_alerts(struct database *database)
{
	if (!database->alerts.alerts)
		return;
	save_log(database, alerts_log(database->alerts.alerts));
	save_seen(database, database->alerts.alerts);
	save_destinations(database);
	save_numbers(database);
}

// What has to be delivered although it could not be saved may be forgotten, and its id given again,
// by the next daemon. If it cannot be told to begin elsewhere, ids are the clock's from now on.
static void make_ids_safe(struct database_alerts *saved)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (!saved->ids_are_safe)
		alert_log_skip_to(alerts_log(saved->alerts),
				  (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
	saved->ids_are_safe = true;
}

void database_alerts_done(struct database *database, bool done)
{
	struct database_alerts *saved = &database->alerts;
	if (!saved->alerts)
		return;
	if (done) {
		memcpy(saved->numbers, saved->saving, sizeof(saved->numbers));
		memcpy(saved->states, saved->saving_states, sizeof(saved->states));
		saved->state_count = saved->saving_count;
		saved->ids_are_safe = true; // the database says that there may be more
		alerts_seen_written(saved->alerts);
	} else {
		make_ids_safe(saved);
	}
	alert_log_written(alerts_log(saved->alerts), done);
}

void database_end_alerts(struct database *database)
{
	database->alerts.ended = true;
}

// Loading ------------------------------------------------------------------------------------

// It may have been imported by a daemon that did not look, and the file may be damaged.
static bool is_sound(const struct deliver_record *record)
{
	struct json_object *object = alert_parse_sound(record->json);
	json_object_put(object);
	return object && text_is_safe(record->text) && text_is_safe(record->vm) &&
	       text_is_safe(record->label) && text_is_safe(record->sink);
}

static bool load_log(struct database *database, struct alert_log *log)
{
	struct row row = begin_row(database, GET_ALERTS);
	while (next_row(&row)) {
		struct alert_record alert = {.id = get(&row)};
		alert.listed = get(&row);
		alert.held_back = get(&row);
		struct deliver_record record = {.id = alert.id};
		record.json = get_text(&row);
		record.text = get_text(&row);
		record.vm = get_text(&row);
		record.label = get_text(&row);
		record.sink = get_text(&row);
		if (!is_sound(&record) || !alert_log_restore(log, &alert, &record))
			return false;
	}
	row = begin_row(database, GET_ALERT_REPEATS);
	while (next_row(&row)) {
		uint64_t id = get(&row), count = get(&row), last_time = get(&row);
		if (!alert_log_restore_repeats(log, id, count, last_time))
			return false;
	}
	return true;
}

static bool load_seen(struct database *database, struct alerts *alerts)
{
	struct row row = begin_row(database, GET_ALERTS_SEEN);
	while (next_row(&row)) {
		uint64_t place = get(&row);
		struct alerts_seen seen = {.hash = get(&row)};
		seen.time = get(&row);
		seen.alert = get(&row);
		if (!alerts_restore_seen(alerts, place, &seen))
			return false;
	}
	return true;
}

static void load_destinations(struct database *database)
{
	struct database_alerts *saved = &database->alerts;
	struct row row = begin_row(database, GET_ALERT_DESTINATIONS);
	while (next_row(&row)) {
		struct deliver_state state;
		get_bytes(&row, state.identity, sizeof(state.identity));
		state.confirmed = get(&row);
		state.delivered = get(&row);
		state.lost = get(&row);
		deliveries_restore(alerts_deliveries(saved->alerts), &state);
	}
	saved->state_count = deliveries_states(alerts_deliveries(saved->alerts), saved->states);
}

static bool load_numbers(struct database *database)
{
	struct database_alerts *saved = &database->alerts;
	struct alert_log *log = alerts_log(saved->alerts);
	struct row row = begin_row(database, GET_ALERT_NUMBERS);
	if (!next_row(&row)) // nothing was ever saved, so there are none
		return alert_log_restore_last(log, 0, 0);
	struct numbers numbers = {.last = get(&row)};
	numbers.exact = get(&row);
	numbers.dropped = get(&row);
	numbers.alerts.key = get(&row);
	numbers.alerts.raised = get(&row);
	numbers.alerts.held_back = get(&row);
	numbers.alerts.window_end = get(&row);
	numbers.alerts.window_count = get(&row);
	numbers.alerts.window_held = get(&row);
	memcpy(saved->numbers, &numbers, sizeof(numbers));
	if (!alert_log_restore_last(log, numbers.last, numbers.dropped))
		return false;
	if (!numbers.exact)
		make_ids_safe(saved);
	alerts_set_numbers(saved->alerts, &numbers.alerts);
	return true;
}

bool database_load_alerts(struct database *database, struct alerts *alerts)
{
	if (!alerts)
		return true;
	database->alerts.alerts = alerts;
	alert_log_track(alerts_log(alerts));
	if (!load_log(database, alerts_log(alerts)) || !load_numbers(database) ||
	    !load_seen(database, alerts))
		return false;
	load_destinations(database);
	return true;
}
