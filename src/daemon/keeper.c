/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/keeper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/database.h"

enum {
	FORGET_MILLISECONDS = 3600 * 1000,
	TIDY_MILLISECONDS = 10000,
	TIDY_ON_MILLISECONDS = 25, // while there is more
	SLACK_MILLISECONDS = 3600 * 1000,      // by which a clock may be set
	DOUBT_MILLISECONDS = 24 * 3600 * 1000, // until one that has jumped further is believed
};

struct keeper {
	struct keeper_settings settings;
	struct registry *registry;
	struct database *database;
	uint64_t due; // UINT64_MAX: nothing has changed
	uint64_t next_forgetting, next_tidying;
	bool above, overfull; // the limit of its size
	uint64_t clock, clock_read; // CLOCK_REALTIME ns as it is believed, and when that was; 0: never
	uint64_t doubted; // since when it is somewhere else; 0: it is not
	struct error failure;
	uint64_t failing_since, saved_time;
};

static uint64_t realtime(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void say(const struct keeper *keeper, const char *text, const char *detail)
{
	char line[640];
	if (!keeper->settings.notice)
		return;
	snprintf(line, sizeof(line), "%s%s%s", text, *detail ? ": " : "", detail);
	keeper->settings.notice(keeper->settings.notice_context, line);
}

static bool save(struct keeper *keeper)
{
	struct error error = {0};
	if (!database_save(keeper->database, keeper->registry, &error)) {
		if (!keeper->failing_since) {
			keeper->failing_since = realtime();
			say(keeper, error.message,
			    "what happens from now on is kept in memory only, and saved when that "
			    "is possible again");
		}
		keeper->failure = error;
		return false;
	}
	if (keeper->failing_since)
		say(keeper, "the database can be written again, all of it is saved", "");
	keeper->failing_since = 0;
	keeper->saved_time = realtime();
	return true;
}

void keeper_save(struct keeper *keeper)
{
	keeper->due = save(keeper) ? UINT64_MAX : 0;
}

struct keeper *keeper_create(const struct keeper_settings *settings, struct registry *registry,
			     struct alerts *alerts, struct error *error)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	if (!keeper) {
		error_set(error, ERROR_MEMORY, "no memory for the database");
		return NULL;
	}
	keeper->settings = *settings;
	keeper->registry = registry;
	keeper->due = UINT64_MAX;
	keeper->next_forgetting = settings->keep ? 0 : UINT64_MAX;
	keeper->next_tidying = 0;
	keeper->database = database_open(settings->directory, error);
	if (!keeper->database || !database_load(keeper->database, registry, alerts, error)) {
		registry_set_forgotten(registry, NULL, NULL);
		database_close(keeper->database);
		free(keeper);
		return NULL;
	}
	struct database_usage usage;
	if (database_get_usage(keeper->database, &usage) && !usage.shrinks)
		say(keeper, "the database's file will not become smaller",
		    "there was no room to make it so that it can");
	keeper_save(keeper); // what has ended meanwhile
	return keeper;
}

void keeper_touch(struct keeper *keeper, uint64_t now)
{
	if (keeper->due == UINT64_MAX)
		keeper->due = now + KEEPER_LATENCY;
}

uint64_t keeper_next(const struct keeper *keeper)
{
	uint64_t next = keeper->due < keeper->next_forgetting ? keeper->due
							      : keeper->next_forgetting;
	return next < keeper->next_tidying ? next : keeper->next_tidying;
}

bool keeper_is_able(const struct keeper *keeper)
{
	return !keeper->failing_since;
}

// What is forgotten does not come back when a clock that was set into the future is set right: such a clock is not believed at
// once. One that was set back has nothing forgotten.
static uint64_t believed_time(struct keeper *keeper, uint64_t now)
{
	uint64_t time = realtime(), expected = keeper->clock + (now - keeper->clock_read) * 1000000;
	bool plausible = !keeper->clock || time <= expected || time - expected <= SLACK_MILLISECONDS * 1000000ull;
	if (!plausible && !keeper->doubted) {
		keeper->doubted = now ? now : 1;
		say(keeper, "the clock has jumped forward", "what it makes too old to be kept is kept for another day");
	}
	if (plausible || now - keeper->doubted >= DOUBT_MILLISECONDS)
		keeper->doubted = 0;
	keeper->clock = keeper->doubted ? expected : time;
	keeper->clock_read = now;
	return keeper->clock;
}

static void forget(struct keeper *keeper, uint64_t now)
{
	uint64_t time = believed_time(keeper, now), age = keeper->settings.keep * 1000000000;
	keeper->next_forgetting = now + FORGET_MILLISECONDS;
	if (time > age)
		registry_forget_before(keeper->registry, time - age);
	keeper_touch(keeper, now);
}

// Above the limit, until an eighth below it, more is forgotten whenever what was is gone.
static void limit_size(struct keeper *keeper)
{
	struct database_usage usage;
	uint64_t size = keeper->settings.size;
	if (!size || !database_get_usage(keeper->database, &usage))
		return;
	keeper->above = usage.used > (keeper->above ? size - size / 8 : size);
	bool was = keeper->overfull;
	if (usage.used <= size)
		keeper->overfull = false;
	if (!keeper->above || registry_vacuum_runs(keeper->registry) ||
	    registry_forget_part(keeper->registry))
		return;
	keeper->overfull = usage.used > size;
	if (keeper->overfull && !was)
		say(keeper, "the database is larger than --size allows",
		    "all that is left is what lives, the paths to it, alerts and the audit");
}

static void tidy(struct keeper *keeper, uint64_t now)
{
	if (now < keeper->next_tidying)
		return;
	keeper->next_tidying = now + TIDY_MILLISECONDS;
	if (keeper->failing_since)
		return;
	bool more = database_tidy(keeper->database, keeper->registry);
	limit_size(keeper);
	more |= registry_vacuum_runs(keeper->registry);
	if (more)
		keeper->next_tidying = now + TIDY_ON_MILLISECONDS;
}

bool keeper_work(struct keeper *keeper, uint64_t now)
{
	if (now >= keeper->next_forgetting)
		forget(keeper, now);
	tidy(keeper, now);
	if (now < keeper->due)
		return false;
	bool saved = save(keeper);
	keeper->due = saved ? UINT64_MAX : now + KEEPER_RETRY;
	return saved;
}

void keeper_get_status(const struct keeper *keeper, struct keeper_status *status)
{
	*status = (struct keeper_status){
		.path = database_path(keeper->database),
		.failure = keeper->failing_since ? keeper->failure.message : NULL,
		.failing_since = keeper->failing_since,
		.saved_time = keeper->saved_time,
		.size_limit = keeper->settings.size,
		.overfull = keeper->overfull,
	};
}

void keeper_destroy(struct keeper *keeper)
{
	if (!keeper)
		return;
	database_end_alerts(keeper->database);
	save(keeper);
	registry_set_forgotten(keeper->registry, NULL, NULL);
	database_close(keeper->database);
	free(keeper);
}

static uint64_t file_size(const char *path, const char *suffix)
{
	char name[4200];
	struct stat status;
	snprintf(name, sizeof(name), "%s%s", path, suffix);
	return stat(name, &status) == 0 ? (uint64_t)status.st_size : 0;
}

uint64_t keeper_size(const struct keeper_status *status)
{
	return file_size(status->path, "") + file_size(status->path, "-wal");
}
