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

#include "base/cleanup.h"
#include "base/text.h"

enum {
	PAUSE_FIRST = 1, // seconds after a failure; twice as long after each further one
	PAUSE_MAXIMUM = 60,
	GOODBYE_SECONDS = 2,
	TEXTS = 5,
};

/** A record in the queues of several destinations. */
struct shared_record {
	_Atomic unsigned int references;
	struct deliver_record record;
	char texts[];
};

struct queued {
	struct queued *next;
	struct shared_record *shared;
};

/** A destination. Held by the list and by its thread. */
struct destination {
	struct destination *next;
	struct policy_delivery delivery; // its texts are ours
	char *identity;			 // all that is configured, to see what has changed
	deliver_notice notice;
	void *notice_context;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic bool stop; // at once
	bool leaving;	   // when the queue is empty, or something fails
	bool thread_ended;
	unsigned int references;
	struct queued *first, **last;
	size_t length;
	uint64_t delivered, failures, lost;
	char error[sizeof(((struct error *)0)->message)];
};

struct deliveries {
	struct destination *destinations;
	deliver_notice notice;
	void *notice_context;
};

// Records ------------------------------------------------------------------------------------

static struct shared_record *share(const struct deliver_record *record)
{
	const char *texts[TEXTS] = {record->text, record->json, record->vm, record->label,
				    record->sink};
	const char *copies[TEXTS];
	size_t size = sizeof(struct shared_record), used = 0;
	for (int i = 0; i < TEXTS; i++)
		size += strlen(texts[i]) + 1;
	struct shared_record *shared = malloc(size);
	if (!shared)
		return NULL;
	for (int i = 0; i < TEXTS; i++) {
		size_t length = strlen(texts[i]) + 1;
		copies[i] = memcpy(shared->texts + used, texts[i], length);
		used += length;
	}
	atomic_init(&shared->references, 1);
	shared->record =
		(struct deliver_record){copies[0], copies[1], copies[2], copies[3], copies[4]};
	return shared;
}

static void release(struct shared_record *shared)
{
	if (atomic_fetch_sub(&shared->references, 1) == 1)
		free(shared);
}

static void drop_first(struct destination *destination)
{
	struct queued *queued = destination->first;
	destination->first = queued->next;
	if (!destination->first)
		destination->last = &destination->first;
	destination->length--;
	release(queued->shared);
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

static void note_success(struct destination *destination, unsigned int *failures)
{
	destination->delivered++;
	drop_first(destination);
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
	struct shared_record *shared = destination->first->shared;
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
		say(destination, "%zu alerts were not delivered to %s", destination->length,
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
	FILE *file = open_memstream(&identity, &size);
	if (!file)
		return NULL;
	fprintf(file, "%d %u ", (int)delivery->kind, delivery->timeout);
	print_texts(file, &delivery->target, 1);
	print_texts(file, delivery->command, words_of(delivery->command));
	print_texts(file, delivery->headers.text, delivery->headers.count);
	fclose(file);
	return identity;
}

static const char *const *copy_texts(const char *const *texts, size_t count)
{
	char **copy = calloc(count + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < count; i++)
		copy[i] = strdup(texts[i]);
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
					   const struct policy_delivery *delivery, char *identity)
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
	destination->last = &destination->first;
	destination->references = 2;
	pthread_mutex_init(&destination->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&destination->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (!start_thread(destination)) {
		say(destination, "no thread for the delivery of alerts to %s",
		    policy_delivery_name(delivery->kind));
		destination->references = 1;
		put_back(destination);
		return NULL;
	}
	return destination;
}

static void order_to_leave(struct destination *destination)
{
	pthread_mutex_lock(&destination->lock);
	destination->leaving = true;
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

void deliveries_set(struct deliveries *deliveries, const struct policy *policy)
{
	struct destination *before = deliveries->destinations, **last = &deliveries->destinations;
	deliveries->destinations = NULL;
	for (size_t i = 0; policy && i < policy->delivery_count; i++) {
		char *identity = identity_of(&policy->deliveries[i]);
		if (!identity)
			continue;
		struct destination *destination = take(&before, identity);
		if (destination)
			free(identity);
		else
			destination = add_destination(deliveries, &policy->deliveries[i], identity);
		if (!destination)
			continue;
		destination->next = NULL;
		*last = destination;
		last = &destination->next;
	}
	while (before) {
		struct destination *old = before;
		before = old->next;
		order_to_leave(old);
		put_back(old);
	}
}

static void append(struct destination *destination, struct shared_record *shared)
{
	struct queued *queued = malloc(sizeof(*queued));
	if (queued)
		*queued = (struct queued){NULL, shared};
	pthread_mutex_lock(&destination->lock);
	if (!queued) {
		destination->lost++;
		release(shared);
	} else {
		*destination->last = queued;
		destination->last = &queued->next;
		destination->length++;
	}
	if (destination->length > DELIVER_QUEUE_MAXIMUM) {
		// The first may be on its way.
		struct queued *second = destination->first->next;
		destination->first->next = second->next;
		release(second->shared);
		free(second);
		destination->length--;
		destination->lost++;
	}
	pthread_cond_broadcast(&destination->changed);
	pthread_mutex_unlock(&destination->lock);
}

void deliveries_put(struct deliveries *deliveries, const struct deliver_record *record)
{
	struct shared_record *shared = share(record);
	for (struct destination *destination = deliveries->destinations; destination;
	     destination = destination->next) {
		if (shared) {
			atomic_fetch_add(&shared->references, 1);
			append(destination, shared);
			continue;
		}
		pthread_mutex_lock(&destination->lock);
		destination->lost++;
		pthread_mutex_unlock(&destination->lock);
	}
	if (shared)
		release(shared);
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
		add_number(object, "delivered", destination->delivered);
		add_number(object, "failures", destination->failures);
		add_number(object, "lost", destination->lost);
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

void deliveries_destroy(struct deliveries *deliveries)
{
	struct timespec end;
	if (!deliveries)
		return;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += GOODBYE_SECONDS;
	for (struct destination *destination = deliveries->destinations; destination;
	     destination = destination->next)
		order_to_leave(destination);
	while (deliveries->destinations) {
		struct destination *destination = deliveries->destinations;
		deliveries->destinations = destination->next;
		await_end(destination, &end);
		put_back(destination);
	}
	free(deliveries);
}
