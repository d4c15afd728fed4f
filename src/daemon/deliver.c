/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/deliver.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/stream.h"
#include "base/text.h"

enum {
	PAUSE_FIRST = 1, // seconds after a failure; twice as long after each further one
	PAUSE_MAXIMUM = 60,
	GOODBYE_SECONDS = 2,
	TEXTS = 5,
};

/** A record in the queues of several destinations. */
struct deliver_shared {
	_Atomic unsigned int references;
	size_t size;
	struct deliver_record record;
	char texts[];
};

struct queued {
	struct queued *next;
	struct deliver_shared *shared;
};

/** A destination. Held by the list and by its thread. */
struct destination {
	struct destination *next;
	struct policy_delivery delivery; // its texts are ours
	char *identity;			 // all that is configured, to see what has changed
	bool refill;			 // its queue has to be filled with what was there before
	bool kept;			 // what it has not got is delivered by the next daemon
	bool losing;			 // that was said
	deliver_notice notice;
	void *notice_context;
	void (*wake)(void *context); // under the lock, as all that follows
	void *wake_context;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic bool stop; // at once
	bool leaving;	   // when the queue is empty, or something fails
	bool thread_ended;
	unsigned int references;
	struct queued *first, **last;
	size_t length;
	struct deliver_state state;
	uint64_t failures;
	char error[sizeof(((struct error *)0)->message)];
};

struct deliveries {
	struct destination *destinations;
	deliver_notice notice;
	void *notice_context;
	bool kept, finished;
	void (*wake)(void *context);
	void *wake_context;
	struct deliver_state restored[POLICY_DELIVERIES_MAXIMUM]; // that no destination has taken
	size_t restored_count;
};

// Records ------------------------------------------------------------------------------------

struct deliver_shared *deliver_share(const struct deliver_record *record)
{
	const char *texts[TEXTS] = {record->text, record->json, record->vm, record->label,
				    record->sink};
	const char *copies[TEXTS];
	size_t size = sizeof(struct deliver_shared), used = 0;
	for (int i = 0; i < TEXTS; i++)
		size += strlen(texts[i]) + 1;
	struct deliver_shared *shared = malloc(size);
	if (!shared)
		return NULL;
	for (int i = 0; i < TEXTS; i++) {
		size_t length = strlen(texts[i]) + 1;
		copies[i] = memcpy(shared->texts + used, texts[i], length);
		used += length;
	}
	atomic_init(&shared->references, 1);
	shared->size = size;
	shared->record = (struct deliver_record){record->id, copies[0], copies[1],
						 copies[2],  copies[3], copies[4]};
	return shared;
}

void deliver_release(struct deliver_shared *shared)
{
	if (atomic_fetch_sub(&shared->references, 1) == 1)
		free(shared);
}

const struct deliver_record *deliver_record_of(const struct deliver_shared *shared)
{
	return &shared->record;
}

size_t deliver_size(const struct deliver_shared *shared)
{
	return shared->size;
}

bool deliver_is_awaited(const struct deliver_shared *shared)
{
	return atomic_load(&shared->references) > 1;
}

static void drop_first(struct destination *destination)
{
	struct queued *queued = destination->first;
	destination->first = queued->next;
	if (!destination->first)
		destination->last = &destination->first;
	destination->length--;
	deliver_release(queued->shared);
	free(queued);
}

// Destinations -------------------------------------------------------------------------------

static void say(const struct destination *destination, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(const struct destination *destination, const char *format, ...)
{
	char line[600], safe[TEXT_ESCAPED_SIZE(sizeof(line))];
	if (!destination->notice)
		return;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	destination->notice(destination->notice_context, text_escape(line, safe, sizeof(safe)));
}

static void free_texts(const char *const *texts, size_t count)
{
	for (size_t i = 0; texts && i < count; i++)
		free((char *)texts[i]);
	free((void *)texts);
}

static size_t words_of(const char *const *command)
{
	size_t count = 0;
	while (command && command[count])
		count++;
	return count;
}

static void put_back(struct destination *destination)
{
	pthread_mutex_lock(&destination->lock);
	bool last = --destination->references == 0;
	pthread_mutex_unlock(&destination->lock);
	if (!last)
		return;
	while (destination->first)
		drop_first(destination);
	free((char *)destination->delivery.target);
	free_texts(destination->delivery.command, words_of(destination->delivery.command));
	free_texts(destination->delivery.headers.text, destination->delivery.headers.count);
	free(destination->identity);
	pthread_cond_destroy(&destination->changed);
	pthread_mutex_destroy(&destination->lock);
	free(destination);
}

// With the lock.
static void pause_after_failure(struct destination *destination, unsigned int failures)
{
	unsigned int seconds = PAUSE_MAXIMUM;
	struct timespec end;
	if (failures < 6)
		seconds = PAUSE_FIRST << failures;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	while (!destination->stop && !destination->leaving &&
	       pthread_cond_timedwait(&destination->changed, &destination->lock, &end) == 0)
		continue;
}

// With the lock.
static void wake(const struct destination *destination)
{
	if (destination->wake && !destination->stop)
		destination->wake(destination->wake_context);
}

static void note_success(struct destination *destination, unsigned int *failures)
{
	destination->state.delivered++;
	destination->state.confirmed = destination->first->shared->record.id;
	destination->losing = false;
	drop_first(destination);
	wake(destination);
	if (*failures > 0)
		say(destination, "alerts arrive at %s again",
		    policy_delivery_name(destination->delivery.kind));
	*failures = 0;
	destination->error[0] = '\0';
}

static void note_failure(struct destination *destination, unsigned int *failures,
			 const struct error *error)
{
	destination->failures++;
	snprintf(destination->error, sizeof(destination->error), "%s", error->message);
	if ((*failures)++ == 0)
		say(destination, "alerts cannot be delivered to %s, and will be tried again: %s",
		    policy_delivery_name(destination->delivery.kind), error->message);
}

// With the lock, which it leaves meanwhile. The record stays the first: only this thread takes
// from the front, or whoever makes room, who keeps the first.
static bool deliver_first(struct destination *destination, struct error *error)
{
	struct deliver_shared *shared = destination->first->shared;
	pthread_mutex_unlock(&destination->lock);
	bool done = deliver_to(&destination->delivery, &shared->record, &destination->stop, error);
	pthread_mutex_lock(&destination->lock);
	return done;
}

static void *serve(void *argument)
{
	struct destination *destination = argument;
	unsigned int failures = 0;
	pthread_mutex_lock(&destination->lock);
	while (!destination->stop) {
		struct error error = {0};
		if (!destination->first) {
			if (destination->leaving)
				break;
			pthread_cond_wait(&destination->changed, &destination->lock);
		} else if (deliver_first(destination, &error)) {
			note_success(destination, &failures);
		} else {
			note_failure(destination, &failures, &error);
			if (destination->leaving)
				break;
			pause_after_failure(destination, failures - 1);
		}
	}
	destination->thread_ended = true;
	pthread_cond_broadcast(&destination->changed);
	if (destination->length)
		say(destination, "%zu alerts %s delivered to %s", destination->length,
		    destination->kept ? "wait for the next nijimid to be" : "were not",
		    policy_delivery_name(destination->delivery.kind));
	pthread_mutex_unlock(&destination->lock);
	put_back(destination);
	return NULL;
}

static void print_texts(FILE *file, const char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fprintf(file, "%zu:%s,", strlen(texts[i]), texts[i]);
	fputc(';', file);
}

static char *identity_of(const struct policy_delivery *delivery)
{
	char *identity = NULL;
	size_t size;
	FILE *file = stream_open(&identity, &size);
	if (!file)
		return NULL;
	fprintf(file, "%d %u ", (int)delivery->kind, delivery->timeout);
	print_texts(file, &delivery->target, 1);
	print_texts(file, delivery->command, words_of(delivery->command));
	print_texts(file, delivery->headers.text, delivery->headers.count);
	return stream_finish(file, &identity) ? identity : NULL;
}

static const char *const *copy_texts(const char *const *texts, size_t count)
{
	char **copy = calloc(count + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < count; i++) {
		copy[i] = strdup(texts[i]);
		if (!copy[i]) {
			free_texts((const char *const *)copy, i);
			return NULL;
		}
	}
	return (const char *const *)copy;
}

static bool start_thread(struct destination *destination)
{
	pthread_t thread;
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	bool started = pthread_create(&thread, NULL, serve, destination) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started)
		pthread_detach(thread);
	return started;
}

// Takes ownership of `identity`.
static struct destination *add_destination(struct deliveries *deliveries,
					   const struct policy_delivery *delivery, char *identity,
					   const struct deliver_state *state, bool refill)
{
	struct destination *destination = calloc(1, sizeof(*destination));
	pthread_condattr_t monotonic;
	if (!destination) {
		free(identity);
		return NULL;
	}
	destination->delivery = *delivery;
	destination->delivery.target = strdup(delivery->target);
	destination->delivery.command = copy_texts(delivery->command, words_of(delivery->command));
	destination->delivery.headers.text =
		copy_texts(delivery->headers.text, delivery->headers.count);
	destination->identity = identity;
	destination->notice = deliveries->notice;
	destination->notice_context = deliveries->notice_context;
	destination->wake = deliveries->wake;
	destination->wake_context = deliveries->wake_context;
	destination->state = *state;
	destination->refill = refill;
	destination->last = &destination->first;
	destination->references = 2;
	pthread_mutex_init(&destination->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&destination->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	const struct policy_delivery *copy = &destination->delivery;
	bool copied = copy->target && copy->command && copy->headers.text;
	if (!copied)
		destination->delivery.headers.count = 0;
	if (!copied || !start_thread(destination)) {
		say(destination, "no memory or thread for the delivery of alerts to %s",
		    policy_delivery_name(delivery->kind));
		destination->references = 1;
		put_back(destination);
		return NULL;
	}
	return destination;
}

// `kept`: what remains is for the next daemon; else nobody wants it any more.
static void order_to_leave(struct destination *destination, bool kept)
{
	pthread_mutex_lock(&destination->lock);
	destination->leaving = true;
	destination->kept = kept;
	if (!kept)
		destination->wake = NULL;
	pthread_cond_broadcast(&destination->changed);
	pthread_mutex_unlock(&destination->lock);
}

// All ---------------------------------------------------------------------------------------

struct deliveries *deliveries_create(deliver_notice notice, void *context)
{
	struct deliveries *deliveries = calloc(1, sizeof(*deliveries));
	if (!deliveries)
		return NULL;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	deliveries->notice = notice;
	deliveries->notice_context = context;
	return deliveries;
}

static struct destination *take(struct destination **list, const char *identity)
{
	for (struct destination **link = list; *link; link = &(*link)->next) {
		struct destination *destination = *link;
		if (strcmp(destination->identity, identity) != 0)
			continue;
		*link = destination->next;
		return destination;
	}
	return NULL;
}

void deliveries_keep(struct deliveries *deliveries, void (*wake_up)(void *context), void *context)
{
	deliveries->kept = true;
	deliveries->wake = wake_up;
	deliveries->wake_context = context;
}

void deliveries_restore(struct deliveries *deliveries, const struct deliver_state *state)
{
	if (deliveries->restored_count < POLICY_DELIVERIES_MAXIMUM)
		deliveries->restored[deliveries->restored_count++] = *state;
}

// The same destination twice has two states.
static void hash_identity(const struct destination *others, const char *identity,
			  uint8_t hash[static 16])
{
	XXH64_hash_t number = 0;
	for (; others; others = others->next)
		number += strcmp(others->identity, identity) == 0;
	XXH128_hash_t value = XXH3_128bits_withSeed(identity, strlen(identity), number);
	memcpy(hash, &value, sizeof(value));
}

static bool take_restored(struct deliveries *deliveries, struct deliver_state *state)
{
	struct deliver_state *restored = deliveries->restored;
	for (size_t i = 0; i < deliveries->restored_count; i++) {
		if (memcmp(restored[i].identity, state->identity, sizeof(state->identity)) != 0)
			continue;
		*state = restored[i];
		restored[i] = restored[--deliveries->restored_count];
		return true;
	}
	return false;
}

static void forget_restored(struct deliveries *deliveries)
{
	if (deliveries->restored_count && deliveries->notice)
		deliveries->notice(deliveries->notice_context,
				   "the policy has no longer all destinations of alerts that the "
				   "daemon before had: what waited for those is not delivered");
	deliveries->restored_count = 0;
}

static void tell_lost(const struct deliveries *deliveries, const struct policy_delivery *delivery)
{
	char line[120];
	snprintf(line, sizeof(line), "no memory for the delivery of alerts to %s: nothing is delivered there",
		 policy_delivery_name(delivery->kind));
	if (deliveries->notice)
		deliveries->notice(deliveries->notice_context, line);
}

void deliveries_set(struct deliveries *deliveries, const struct policy *policy, uint64_t newest)
{
	struct destination *before = deliveries->destinations, **last = &deliveries->destinations;
	deliveries->destinations = NULL;
	for (size_t i = 0; policy && i < policy->delivery_count; i++) {
		const struct policy_delivery *delivery = &policy->deliveries[i];
		struct deliver_state state = {.confirmed = newest};
		char *identity = identity_of(delivery);
		if (!identity) {
			tell_lost(deliveries, delivery);
			continue;
		}
		hash_identity(deliveries->destinations, identity, state.identity);
		struct destination *destination = take(&before, identity);
		if (destination) {
			free(identity);
		} else {
			bool refill = take_restored(deliveries, &state);
			destination =
				add_destination(deliveries, delivery, identity, &state, refill);
		}
		if (!destination)
			continue;
		destination->next = NULL;
		*last = destination;
		last = &destination->next;
	}
	while (before) {
		struct destination *old = before;
		before = old->next;
		order_to_leave(old, false);
		put_back(old);
	}
	forget_restored(deliveries);
}

// With the lock; false: no memory.
static bool append(struct destination *destination, struct deliver_shared *shared)
{
	struct queued *queued = malloc(sizeof(*queued));
	if (!queued)
		return false;
	*queued = (struct queued){NULL, shared};
	atomic_fetch_add(&shared->references, 1);
	*destination->last = queued;
	destination->last = &queued->next;
	destination->length++;
	pthread_cond_broadcast(&destination->changed);
	return true;
}

static void lose(struct destination *destination)
{
	destination->state.lost++;
	if (!destination->losing)
		say(destination, "alerts for %s are lost: too many wait, or there is no memory",
		    policy_delivery_name(destination->delivery.kind));
	destination->losing = true;
}

void deliveries_refill(struct deliveries *deliveries, struct deliver_shared *shared)
{
	for (struct destination *destination = deliveries->destinations; destination;
	     destination = destination->next) {
		pthread_mutex_lock(&destination->lock);
		if (destination->refill && shared->record.id > destination->state.confirmed &&
		    !append(destination, shared))
			lose(destination);
		pthread_mutex_unlock(&destination->lock);
	}
}

void deliveries_refilled(struct deliveries *deliveries)
{
	for (struct destination *destination = deliveries->destinations; destination;
	     destination = destination->next)
		destination->refill = false;
}

void deliveries_put(struct deliveries *deliveries, struct deliver_shared *shared)
{
	for (struct destination *destination = deliveries->destinations; destination;
	     destination = destination->next) {
		pthread_mutex_lock(&destination->lock);
		if (!append(destination, shared))
			lose(destination);
		pthread_mutex_unlock(&destination->lock);
	}
}

void deliveries_lose(struct deliveries *deliveries)
{
	for (struct destination *destination = deliveries->destinations; destination;
	     destination = destination->next) {
		pthread_mutex_lock(&destination->lock);
		lose(destination);
		pthread_mutex_unlock(&destination->lock);
	}
}

static void take_out(struct destination *destination, const struct deliver_shared *shared)
{
	for (struct queued **link = &destination->first; *link; link = &(*link)->next) {
		struct queued *queued = *link;
		if (queued->shared != shared)
			continue;
		*link = queued->next;
		if (!queued->next)
			destination->last = link;
		deliver_release(queued->shared);
		free(queued);
		destination->length--;
		lose(destination);
		return;
	}
}

// All locks are held, so that it does not become the first of a queue meanwhile.
bool deliveries_drop(struct deliveries *deliveries, struct deliver_shared *shared)
{
	struct destination *first = deliveries->destinations;
	bool free_to_go = true;
	for (struct destination *each = first; each; each = each->next) {
		pthread_mutex_lock(&each->lock);
		free_to_go &= !each->first || each->first->shared != shared;
	}
	for (struct destination *each = first; each; each = each->next) {
		if (free_to_go)
			take_out(each, shared);
		pthread_mutex_unlock(&each->lock);
	}
	return free_to_go;
}

size_t deliveries_states(struct deliveries *deliveries,
			 struct deliver_state states[POLICY_DELIVERIES_MAXIMUM])
{
	size_t count = deliveries->restored_count;
	memcpy(states, deliveries->restored, count * sizeof(*states));
	for (struct destination *destination = deliveries->destinations;
	     destination && count < POLICY_DELIVERIES_MAXIMUM; destination = destination->next) {
		pthread_mutex_lock(&destination->lock);
		states[count++] = destination->state;
		pthread_mutex_unlock(&destination->lock);
	}
	return count;
}

static void add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

// What a URL or a header may hold is not shown.
struct json_object *deliveries_render(struct deliveries *deliveries)
{
	struct json_object *list = json_object_new_array();
	for (struct destination *destination = deliveries->destinations; destination;
	     destination = destination->next) {
		char error[TEXT_ESCAPED_SIZE(sizeof(destination->error))];
		struct json_object *object = json_object_new_object();
		pthread_mutex_lock(&destination->lock);
		json_object_object_add(
			object, "to",
			json_object_new_string(policy_delivery_name(destination->delivery.kind)));
		add_number(object, "queued", destination->length);
		add_number(object, "delivered", destination->state.delivered);
		add_number(object, "failures", destination->failures);
		add_number(object, "lost", destination->state.lost);
		text_escape(destination->error, error, sizeof(error));
		pthread_mutex_unlock(&destination->lock);
		json_object_object_add(object, "error",
				       *error ? json_object_new_string(error) : NULL);
		json_object_array_add(list, object);
	}
	return list;
}

static void await_end(struct destination *destination, const struct timespec *end)
{
	pthread_mutex_lock(&destination->lock);
	while (!destination->thread_ended &&
	       pthread_cond_timedwait(&destination->changed, &destination->lock, end) == 0)
		continue;
	destination->stop = true;
	pthread_cond_broadcast(&destination->changed);
	pthread_mutex_unlock(&destination->lock);
}

void deliveries_finish(struct deliveries *deliveries)
{
	struct timespec end;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += GOODBYE_SECONDS;
	for (struct destination *destination = deliveries->destinations;
	     destination && !deliveries->finished; destination = destination->next)
		order_to_leave(destination, deliveries->kept);
	for (struct destination *destination = deliveries->destinations;
	     destination && !deliveries->finished; destination = destination->next)
		await_end(destination, &end);
	deliveries->finished = true;
}

void deliveries_destroy(struct deliveries *deliveries)
{
	if (!deliveries)
		return;
	deliveries_finish(deliveries);
	while (deliveries->destinations) {
		struct destination *destination = deliveries->destinations;
		deliveries->destinations = destination->next;
		put_back(destination);
	}
	free(deliveries);
}
