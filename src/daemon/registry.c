/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/registry.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/store_changes.h"
#include "daemon/uuid.h"

struct registry {
	struct registry_limits limits;
	struct registry_agent *agents;
	struct registry_vm **vms; // in the order in which they came
	size_t vms_count;
	uint64_t changes;
	uint64_t last_serial;
	registry_notice notice;
	void *notice_context;
	registry_forgotten forgotten;
	void *forgotten_context;
	struct registry_vm *staged;
	struct labels *labels;
	struct audit *audit;
	registry_watcher watcher;
	void *watcher_context;
};

struct registry *registry_create(const struct registry_limits *limits)
{
	cleanup_free struct registry *registry = calloc(1, sizeof(*registry));
	if (!registry)
		return NULL;
	registry->limits = *limits;
	registry->vms = calloc(limits->vms, sizeof(struct registry_vm *));
	registry->labels = malloc(sizeof(*registry->labels));
	registry->audit = audit_create();
	if (!registry->vms || !registry->labels || !registry->audit) {
		free(registry->vms);
		free(registry->labels);
		audit_destroy(registry->audit);
		return NULL;
	}
	labels_init(registry->labels);
	return take_pointer(registry);
}

struct labels *registry_labels(const struct registry *registry)
{
	return registry->labels;
}

struct audit *registry_audit(const struct registry *registry)
{
	return registry->audit;
}

void registry_set_watcher(struct registry *registry, registry_watcher watcher, void *context)
{
	registry->watcher = watcher;
	registry->watcher_context = context;
}

void registry_touch(struct registry *registry)
{
	registry->changes++;
}

void registry_set_notice(struct registry *registry, registry_notice notice, void *context)
{
	registry->notice = notice;
	registry->notice_context = context;
}

void registry_set_forgotten(struct registry *registry, registry_forgotten forgotten, void *context)
{
	registry->forgotten = forgotten;
	registry->forgotten_context = context;
}

static void row_forgotten(struct registry *registry, bool is_vm, uint64_t row)
{
	if (row && registry->forgotten)
		registry->forgotten(registry->forgotten_context, is_vm, row);
}

static void notify(struct registry *registry, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void notify(struct registry *registry, const char *format, ...)
{
	char line[1024], safe[TEXT_ESCAPED_SIZE(sizeof(line))];
	if (!registry->notice)
		return;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	registry->notice(registry->notice_context, text_escape(line, safe, sizeof(safe)));
}

uint64_t registry_changes(const struct registry *registry)
{
	return registry->changes;
}

uint64_t registry_unsaved(const struct registry *registry)
{
	uint64_t count = 0;
	for (const struct registry_agent *agent = registry_agents(registry); agent;
	     agent = agent->next)
		if (agent->journal_received > agent->journal_saved)
			count += agent->journal_received - agent->journal_saved;
	return count;
}

size_t registry_vms(const struct registry *registry, struct registry_vm *const **vms)
{
	*vms = registry->vms;
	return registry->vms_count;
}

struct registry_agent *registry_agents(const struct registry *registry)
{
	return registry->agents;
}

// States -------------------------------------------------------------------------------------

enum registry_vm_state registry_vm_state(const struct registry_vm *vm)
{
	if (vm->gone)
		return REGISTRY_GONE;
	if (!vm->agent->connected)
		return REGISTRY_LOST;
	switch (vm->agent_state) {
	case WIRE_VM_ARMING:
		return REGISTRY_ARMING;
	case WIRE_VM_ARMED:
		return REGISTRY_ARMED;
	case WIRE_VM_UNTRACED:
		return REGISTRY_UNTRACED;
	default:
		return REGISTRY_WAITING;
	}
}

const char *registry_state_name(enum registry_vm_state state)
{
	static const char *const names[] = {
		[REGISTRY_WAITING] = "waiting", [REGISTRY_ARMING] = "arming",
		[REGISTRY_ARMED] = "armed",	[REGISTRY_UNTRACED] = "untraced",
		[REGISTRY_LOST] = "lost",	[REGISTRY_GONE] = "gone",
	};
	return names[state];
}

// As far as we know: a broken connection alone does not stop a VM.
static bool is_running(const struct registry_vm *vm)
{
	return !vm->gone && !vm->agent->process_ended;
}

bool registry_uuid_conflict(const struct registry *registry, const struct registry_vm *vm)
{
	if (!vm->has_uuid || !is_running(vm))
		return false;
	for (size_t i = 0; i < registry->vms_count; i++) {
		const struct registry_vm *other = registry->vms[i];
		if (other != vm && other->has_uuid && is_running(other) &&
		    memcmp(other->uuid, vm->uuid, sizeof(vm->uuid)) == 0)
			return true;
	}
	return false;
}

// Names --------------------------------------------------------------------------------------

static struct registry_vm *vm_by_name(const struct registry *registry, const char *name)
{
	for (size_t i = 0; i < registry->vms_count; i++)
		if (strcmp(registry->vms[i]->name, name) == 0)
			return registry->vms[i];
	return NULL;
}

enum { NUMBERS_LOOKED_AT = 8192, DIGITS_MAXIMUM = 5 };

// Whether the text is a number as numbered_name() writes it, and not a large one.
static bool read_number(const char *text, unsigned int *number)
{
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > DIGITS_MAXIMUM || text[digits] != '\0' || text[0] == '0')
		return false;
	*number = (unsigned int)strtoul(text, NULL, 10);
	return true;
}

// The name with the lowest number behind it that nobody has. All names are looked at once: thousands of VMs may be called the same.
static void numbered_name(const struct registry *registry, const char *name, char mark,
			  unsigned int first, char numbered[REGISTRY_NAME_SIZE])
{
	bool taken[NUMBERS_LOOKED_AT] = {0};
	unsigned int number;
	size_t length = (size_t)snprintf(numbered, REGISTRY_NAME_SIZE, "%.*s%c", 4 * WIRE_NAME_MAXIMUM, name, mark);
	for (size_t i = 0; i < registry->vms_count; i++) {
		const char *other = registry->vms[i]->name;
		if (strncmp(other, numbered, length) == 0 && read_number(other + length, &number) &&
		    number >= first && number - first < NUMBERS_LOOKED_AT)
			taken[number - first] = true;
	}
	for (number = first;; number++) {
		bool looked_at = number - first < NUMBERS_LOOKED_AT;
		if (looked_at && taken[number - first])
			continue;
		snprintf(numbered + length, REGISTRY_NAME_SIZE - length, "%u", number);
		if (looked_at || !vm_by_name(registry, numbered))
			return;
	}
}

// A VM that is over gives its name to one that comes, and is called NAME~1 then.
static void name_vm(struct registry *registry, struct registry_vm *vm)
{
	char wanted[REGISTRY_NAME_SIZE], older[REGISTRY_NAME_SIZE];
	snprintf(wanted, sizeof(wanted), "%.*s", 4 * WIRE_NAME_MAXIMUM, vm->agent->name);
	struct registry_vm *holder = vm_by_name(registry, wanted);
	if (!holder) {
		strcpy(vm->name, wanted);
	} else if (is_running(holder)) {
		numbered_name(registry, wanted, '-', 2, vm->name);
	} else {
		numbered_name(registry, wanted, '~', 1, older);
		strcpy(holder->name, older);
		strcpy(vm->name, wanted);
	}
}

enum { CANDIDATES_SHOWN = 4 };

static struct registry_vm *ambiguous(const char *text, const char *what,
				     struct registry_vm *const candidates[], size_t count,
				     struct error *error)
{
	error_set(error, ERROR_INVALID,
		  "%zu running VMs %s %.40s; say which one by its name:", count, what, text);
	for (size_t i = 0; error && i < count && i < CANDIDATES_SHOWN; i++) {
		size_t used = strlen(error->message);
		snprintf(error->message + used, sizeof(error->message) - used, "%s %.80s",
			 i ? "," : "", candidates[i]->name);
	}
	return NULL;
}

static struct registry_vm *vm_by_uuid(const struct registry *registry, const char *prefix,
				      struct error *error)
{
	struct registry_vm *running[CANDIDATES_SHOWN], *last = NULL;
	size_t count = 0;
	for (size_t i = 0; i < registry->vms_count; i++) {
		struct registry_vm *vm = registry->vms[i];
		if (!vm->has_uuid || !uuid_has_prefix(vm->uuid, prefix))
			continue;
		last = vm;
		if (is_running(vm) && count++ < CANDIDATES_SHOWN)
			running[count - 1] = vm;
	}
	if (count > 1)
		return ambiguous(prefix,
				 registry_uuid_conflict(registry, running[0])
					 ? "claim the UUID"
					 : "have a UUID that begins with",
				 running, count, error);
	if (count == 1)
		return running[0];
	if (!last)
		error_set(error, ERROR_NOT_FOUND,
			  "no VM with the UUID %.40s is known (`nijimi vms` lists them)", prefix);
	return last;
}

static struct registry_vm *find_by_whole_uuid(const struct registry *registry, const char *text,
					      struct error *error)
{
	char own[UUID_TEXT_SIZE];
	struct registry_vm *vm = vm_by_uuid(registry, text, error);
	const struct registry_vm *namesake = vm ? NULL : vm_by_name(registry, text);
	if (namesake && error && error->code == ERROR_NOT_FOUND)
		error_set(error, ERROR_NOT_FOUND, "no VM with the UUID %.40s is known; one calls itself so, but %s%s", text,
			  namesake->has_uuid ? "its UUID is " : "has none",
			  namesake->has_uuid ? uuid_format(namesake->uuid, own) : "");
	return vm;
}

struct registry_vm *registry_find_vm(const struct registry *registry, const char *text,
				     struct error *error)
{
	bool whole, uuid = uuid_is_prefix(text, &whole);
	if (uuid && whole) // before names: a VM may call itself by another's UUID
		return find_by_whole_uuid(registry, text, error);
	struct registry_vm *vm = vm_by_name(registry, text);
	if (vm)
		return vm;
	if (uuid)
		return vm_by_uuid(registry, text, error);
	char safe[TEXT_ESCAPED_SIZE(64)];
	error_set(error, ERROR_NOT_FOUND, "no VM '%s' is known (`nijimi vms` lists them)",
		  text_escape(text, safe, sizeof(safe)));
	return NULL;
}

// VMs come and go ----------------------------------------------------------------------------

static void forget_origin(void *context, const struct store_edge *edge)
{
	struct registry_vm *vm = context;
	origins_forget(&vm->origins, edge->event, edge->to->object, edge->labels);
}

// The VM has this store from now on.
static void adopt_store(struct registry_vm *vm, struct store *store)
{
	vm->store = store;
	store_set_forgotten(store, forget_origin, vm);
}

static struct store *make_store(const struct registry *registry, struct registry_vm *vm)
{
	const struct store_limits *limits = &registry->limits.store;
	struct store *store = store_create(limits);
	if (!store)
		return NULL;
	adopt_store(vm, store);
	// Of each edge by both its ends' numbers, and its object.
	if (limits->edges > ORIGINS_MAXIMUM / (3 * STORE_EDGES_FACTOR))
		vm->origins.maximum = 3 * STORE_EDGES_FACTOR * limits->edges;
	return store;
}

static void free_vm(struct registry_vm *vm)
{
	store_destroy(vm->store);
	origins_deinit(&vm->origins);
	marks_deinit(&vm->marks);
	free(vm);
}

static void remove_pointer(struct registry_vm **list, size_t *count, const struct registry_vm *vm)
{
	size_t kept = 0;
	for (size_t i = 0; i < *count; i++)
		if (list[i] != vm)
			list[kept++] = list[i];
	*count = kept;
}

static void free_agent(struct registry_agent *agent)
{
	free(agent->program);
	free(agent->name);
	free(agent->run);
	free(agent->vms);
	free(agent);
}

// An agent of which nothing is listed and that is not connected is of no more use.
static void forget_agent_if_idle(struct registry *registry, struct registry_agent *agent)
{
	if (agent->connected || agent->vms_count > 0)
		return;
	for (struct registry_agent **link = &registry->agents; *link; link = &(*link)->next) {
		if (*link == agent) {
			*link = agent->next;
			break;
		}
	}
	row_forgotten(registry, false, agent->row);
	free_agent(agent);
}

static void forget_vm(struct registry *registry, struct registry_vm *vm)
{
	struct registry_agent *agent = vm->agent;
	remove_pointer(registry->vms, &registry->vms_count, vm);
	remove_pointer(agent->vms, &agent->vms_count, vm);
	row_forgotten(registry, true, vm->row);
	free_vm(vm);
	forget_agent_if_idle(registry, agent);
	registry->changes++;
}

// The one that has been over for the longest time, of this user if one is named; NULL: all may still be running.
static struct registry_vm *oldest_over(struct registry_vm *const *vms, size_t count, const uid_t *uid)
{
	struct registry_vm *oldest = NULL;
	for (size_t i = 0; i < count; i++) {
		if (is_running(vms[i]) || (uid && vms[i]->agent->uid != *uid))
			continue;
		if (!oldest || vms[i]->state_time < oldest->state_time)
			oldest = vms[i];
	}
	return oldest;
}

static size_t vms_of_user(const struct registry *registry, uid_t uid)
{
	size_t count = 0;
	for (size_t i = 0; i < registry->vms_count; i++)
		count += registry->vms[i]->agent->uid == uid;
	return count;
}

static bool forget_over(struct registry *registry, struct registry_vm *over)
{
	if (!over)
		return false;
	forget_vm(registry, over);
	return true;
}

// Whoever has agents can invent VMs. So a user makes room of what is his own; what others have had goes only for
// who has few, and is told.
static bool make_room_for_user(struct registry *registry, uid_t uid)
{
	size_t limit = registry->limits.vms, count = registry->vms_count;
	size_t own = count >= limit / 4 ? vms_of_user(registry, uid) : 0;
	if (count < limit && own < limit - limit / 4)
		return true;
	struct registry_vm *over = oldest_over(registry->vms, count, &uid);
	if (over || own >= limit / 4)
		return forget_over(registry, over);
	over = oldest_over(registry->vms, count, NULL);
	if (over)
		notify(registry, "%s: forgotten: %zu VMs are listed, and user %u has another", over->name, count,
		       (unsigned int)uid);
	return forget_over(registry, over);
}

static bool make_room(struct registry *registry, const struct registry_agent *agent)
{
	if (agent->vms_count >= registry->limits.vms_per_agent &&
	    !forget_over(registry, oldest_over(agent->vms, agent->vms_count, NULL)))
		return false;
	return make_room_for_user(registry, agent->uid);
}

struct registry_vm *registry_vm_of(const struct registry_agent *agent, uint16_t number)
{
	for (size_t i = agent->vms_count; i > 0; i--)
		if (agent->vms[i - 1]->number == number && !agent->vms[i - 1]->gone)
			return agent->vms[i - 1];
	return NULL;
}

// NULL: there is no room, or no memory, which is an error.
static struct registry_vm *find_or_add_vm(struct registry *registry, struct registry_agent *agent,
					  uint16_t number, uint64_t now, struct error *error)
{
	struct registry_vm *vm = registry_vm_of(agent, number);
	if (vm)
		return vm;
	if (!make_room(registry, agent))
		return NULL;
	vm = calloc(1, sizeof(*vm));
	if (!vm || !make_store(registry, vm)) {
		free(vm);
		error_set(error, ERROR_MEMORY, "no memory for another VM");
		return NULL;
	}
	vm->agent = agent;
	vm->number = number;
	vm->agent_state = WIRE_VM_WAITING;
	vm->first_time = vm->state_time = now;
	if (registry->limits.durable)
		store_track(vm->store);
	name_vm(registry, vm);
	vm->serial = ++registry->last_serial;
	registry->vms[registry->vms_count++] = vm;
	agent->vms[agent->vms_count++] = vm;
	registry->changes++;
	if (agent->restarting && agent->left_out)
		store_add_gap(vm->store, "history-lost", "before the daemon knew this VM",
			      agent->left_out, now);
	return vm;
}

static void end_vm(struct registry *registry, struct registry_vm *vm, uint64_t time)
{
	// Files outlive the VM; what runs in it does not.
	store_end_kinds(vm->store, 1u << WIRE_PROCESS | 1u << WIRE_SOCKET | 1u << WIRE_ENDPOINT,
			time);
	store_end_kernel(vm->store, time);
	vm->gone = true;
	vm->state_time = time;
	registry->changes++;
	notify(registry, "%s: gone", vm->name);
}

// Agents -------------------------------------------------------------------------------------

struct registry_agent *registry_find_agent(struct registry *registry, const uint8_t instance[16])
{
	for (struct registry_agent *agent = registry->agents; agent; agent = agent->next)
		if (memcmp(agent->instance, instance, sizeof(agent->instance)) == 0)
			return agent;
	return NULL;
}

static char *copy_safely(const char *text)
{
	size_t size = TEXT_ESCAPED_SIZE(strlen(text));
	char *copy = malloc(size);
	return copy ? text_escape(text, copy, size) : NULL;
}

static struct registry_agent *make_agent(const struct registry *registry,
					 const struct wire_hello *hello, pid_t pid, uid_t uid)
{
	struct registry_agent *agent = calloc(1, sizeof(*agent));
	if (!agent)
		return NULL;
	char name[32];
	snprintf(name, sizeof(name), "pid-%d", (int)pid);
	memcpy(agent->instance, hello->instance, sizeof(agent->instance));
	memset(agent->label_bits, -1, sizeof(agent->label_bits));
	agent->label_bits[0] = 0;
	agent->pid = pid;
	agent->uid = uid;
	agent->program = strdup(hello->program);
	agent->run = strdup(hello->run);
	agent->name = copy_safely(*hello->name ? hello->name : name);
	agent->vms = calloc(registry->limits.vms_per_agent, sizeof(struct registry_vm *));
	if (!agent->program || !agent->run || !agent->name || !agent->vms) {
		free_agent(agent);
		return NULL;
	}
	return agent;
}

static struct registry_agent *add_agent(struct registry *registry, const struct wire_hello *hello,
					pid_t pid, uid_t uid)
{
	struct registry_agent *agent = make_agent(registry, hello, pid, uid);
	if (!agent)
		return NULL;
	agent->next = registry->agents;
	registry->agents = agent;
	return agent;
}

struct registry_agent *registry_hello(struct registry *registry, const struct wire_hello *hello,
				      pid_t pid, uid_t uid, uint64_t now, struct error *error)
{
	if (hello->version == 0) {
		error_set(error, ERROR_PROTOCOL, "process %d speaks version 0 of the protocol",
			  (int)pid);
		return NULL;
	}
	if (hello->pid != (uint32_t)pid) {
		error_set(error, ERROR_PROTOCOL, "process %d says that it is process %u", (int)pid,
			  hello->pid);
		return NULL;
	}
	struct registry_agent *agent = registry_find_agent(registry, hello->instance);
	if (agent && (agent->pid != pid || agent->process_ended)) {
		error_set(error, ERROR_PROTOCOL,
			  "process %d uses the instance number of process %d", (int)pid,
			  (int)agent->pid);
		return NULL;
	}
	if (!agent)
		agent = add_agent(registry, hello, pid, uid);
	if (!agent) {
		error_set(error, ERROR_MEMORY, "no memory for an agent");
		return NULL;
	}
	agent->connected = true;
	agent->connected_time = agent->heard_time = now;
	for (size_t i = 0; i < agent->vms_count; i++)
		if (!agent->vms[i]->gone) {
			agent->vms[i]->state_time = now;
			agent->vms[i]->labels_sent = false;
		}
	registry->changes++;
	notify(registry, "%s: the agent of process %d (%s) is connected", agent->name, (int)pid,
	       agent->program);
	return agent;
}

void registry_disconnect(struct registry *registry, struct registry_agent *agent, uint64_t now)
{
	if (!agent->connected)
		return;
	agent->connected = false;
	agent->connection = NULL;
	agent->disconnected_time = now;
	for (size_t i = 0; i < agent->vms_count; i++) {
		struct registry_vm *vm = agent->vms[i];
		if (vm->gone)
			continue;
		vm->state_time = now;
		notify(registry, "%s: lost: the connection to the agent broke", vm->name);
	}
	registry->changes++;
	forget_agent_if_idle(registry, agent);
}

void registry_process_ended(struct registry *registry, struct registry_agent *agent, uint64_t now)
{
	agent->process_ended = true;
	registry->changes++;
}

// Messages -----------------------------------------------------------------------------------

struct context {
	struct registry *registry;
	struct registry_agent *agent;
	struct registry_vm *vm;
	uint64_t now;
	struct error *error;
};

static bool apply_restart(struct context *context, const struct wire_message *message)
{
	struct registry_agent *agent = context->agent;
	const struct wire_restart *restart = &message->restart;
	if (restart->next == 0)
		return error_set(context->error, ERROR_PROTOCOL, "RESTART before journal frame 0");
	agent->journal_received = restart->next - 1;
	agent->restarting = true;
	agent->left_out = restart->left_out;
	for (size_t i = 0; i < agent->vms_count; i++) {
		struct registry_vm *vm = agent->vms[i];
		if (vm->gone)
			continue;
		vm->described = false;
		store_begin_restart(vm->store);
		if (restart->left_out)
			store_add_gap(vm->store, "history-lost",
				      "messages that the agent could not keep for the daemon",
				      restart->left_out, context->now);
	}
	context->registry->changes++;
	return true;
}

static bool apply_counters(struct context *context, const struct wire_message *message)
{
	rates_update(&context->vm->rates, &message->counters, context->now);
	return store_set_counters(context->vm->store, &message->counters, context->error);
}

static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = strnlen(from, size - 1);
	memcpy(to, from, length);
	to[length] = '\0';
}

static void notify_state(struct context *context)
{
	const struct registry_vm *vm = context->vm;
	enum registry_vm_state state = registry_vm_state(vm);
	if (state == REGISTRY_ARMED)
		notify(context->registry, "%s: armed (%s, %s)", vm->name, vm->kernel, vm->hook);
	else
		notify(context->registry, "%s: %s%s%s", vm->name, registry_state_name(state),
		       *vm->reason ? ": " : "", vm->reason);
}

// A VM that has come again ------------------------------------------------------------------

static bool same_uuid(const struct registry_vm *left, const struct registry_vm *right)
{
	return left->has_uuid && right->has_uuid &&
	       memcmp(left->uuid, right->uuid, sizeof(left->uuid)) == 0;
}

// A UUID is what a guest's memory says: it must not open the state of another user's VM.
static bool may_continue(const struct registry_vm *vm, const struct registry_vm *earlier)
{
	return vm != earlier && same_uuid(vm, earlier) && !is_running(earlier) &&
	       (vm->agent->uid == 0 || vm->agent->uid == earlier->agent->uid);
}

const struct registry_vm *registry_earlier_life(const struct registry *registry,
						const struct registry_vm *vm, uint64_t serial)
{
	for (size_t i = 0; i < registry->vms_count; i++)
		if (registry->vms[i]->serial >= serial && may_continue(vm, registry->vms[i]))
			return registry->vms[i];
	return NULL;
}

static void report_unrecognisable(struct registry *registry, struct registry_vm *vm, uint64_t count,
				  uint64_t time)
{
	if (count == 0)
		return;
	store_add_gap(vm->store, "unstored-files",
		      "managed files whose file system tells no lasting identity: they are not "
		      "recognised after the boot",
		      count, time);
	registry->changes++;
}

static void copy_gaps(struct store *to, const struct store *from)
{
	size_t count;
	const struct store_gap *gaps = store_gaps(from, &count);
	for (size_t i = 0; i < count; i++)
		store_add_gap(to, gaps[i].kind, gaps[i].detail, gaps[i].count, gaps[i].last_time);
	const struct store_period *periods = store_periods(from, &count);
	for (size_t i = 0; i < count; i++)
		store_begin_untraced(to, periods[i].begin, periods[i].reason);
}

// The VM takes over what is known of its life before. Only one of which nothing else is known yet.
static void continue_life(struct registry *registry, struct registry_vm *vm, uint64_t now)
{
	const struct store_totals *totals = store_totals(vm->store);
	if (!registry->limits.durable || totals->edges || store_next_object(vm->store, 0))
		return;
	struct registry_vm *earlier = NULL;
	for (size_t i = registry->vms_count; i > 0 && !earlier; i--)
		if (may_continue(vm, registry->vms[i - 1]))
			earlier = registry->vms[i - 1];
	if (!earlier)
		return;
	uint64_t since = earlier->agent->disconnected_time ? earlier->agent->disconnected_time
							   : earlier->state_time;
	if (!earlier->gone)
		end_vm(registry, earlier, since);
	uint64_t unrecognisable = store_boot(earlier->store, now);
	copy_gaps(earlier->store, vm->store);

	struct store *fresh = vm->store;
	uint64_t fresh_row = vm->row;
	adopt_store(vm, earlier->store);
	origins_continue(&vm->origins, &earlier->origins);
	marks_continue(&vm->marks, &earlier->marks);
	vm->row = earlier->row;
	vm->staged = earlier->staged;
	vm->row_hash = 0;
	vm->first_time = earlier->first_time;
	vm->unwatched = true;
	store_begin_sequence(vm->store);
	adopt_store(earlier, fresh);
	earlier->row = fresh_row;
	bool renamed = strcmp(earlier->name, vm->agent->name) == 0;
	notify(registry, "%s: goes on as the VM that was %s", vm->name, earlier->name);
	forget_vm(registry, earlier);
	if (renamed)
		strcpy(vm->name, vm->agent->name);
	report_unrecognisable(registry, vm, unrecognisable, now);
}

static void format_moment(uint64_t time, char text[32])
{
	struct tm parts;
	time_t seconds = (time_t)(time / 1000000000);
	if (!gmtime_r(&seconds, &parts) || !strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts))
		strcpy(text, "?");
}

// Since when it may have run untraced, if it does so now.
static uint64_t untraced_since(const struct registry_vm *vm)
{
	uint64_t since = store_untraced_since(vm->store);
	return since ? since : vm->first_time;
}

// What its disks go through while nobody looks is not known: files that are copied then are clean.
static void begin_untraced(struct registry *registry, struct registry_vm *vm, const char *reason,
			   uint64_t time)
{
	char from[32], detail[WIRE_TEXT_MAXIMUM + 200];
	if (!store_begin_untraced(vm->store, untraced_since(vm), reason))
		return;
	format_moment(untraced_since(vm), from);
	snprintf(detail, sizeof(detail), "since %s: %s", from, reason);
	store_add_gap(vm->store, "untraced-period", detail, 1, time);
	registry->changes++;
}

static void end_untraced(struct registry *registry, struct registry_vm *vm, uint64_t time)
{
	char from[32], to[32], detail[WIRE_TEXT_MAXIMUM + 200];
	const struct store_period *period = store_end_untraced(vm->store, time);
	if (!period)
		return;
	format_moment(period->begin, from);
	format_moment(period->end, to);
	snprintf(detail, sizeof(detail),
		 "from %s to %s: what was done to its disks then, if it ran, is not known (%s)",
		 from, to, period->reason);
	store_add_gap(vm->store, "untraced-period", detail, 0, time);
	registry->changes++;
}

static void begin_kernel(struct registry *registry, struct registry_vm *vm, uint64_t now)
{
	if (vm->unwatched && store_untraced_since(vm->store))
		begin_untraced(registry, vm, "it was off, or ran without nijimi", now);
	end_untraced(registry, vm, now);
	vm->unwatched = false;
	store_begin_kernel(vm->store, vm->kernel, now);
}

static void follow_kernel(struct registry *registry, struct registry_vm *vm, uint32_t before,
			  uint64_t time)
{
	if (before != WIRE_VM_ARMED && vm->agent_state == WIRE_VM_ARMED)
		begin_kernel(registry, vm, time);
	if (before == WIRE_VM_ARMED && vm->agent_state != WIRE_VM_ARMED) {
		store_end_kernel(vm->store, time);
		vm->unwatched |= vm->agent_state == WIRE_VM_UNTRACED;
	}
	if (vm->agent_state == WIRE_VM_UNTRACED)
		begin_untraced(registry, vm, *vm->reason ? vm->reason : "the agent does not say why",
			       time);
}

static bool apply_vm(struct context *context, const struct wire_message *message)
{
	const struct wire_vm *state = &message->vm_state;
	struct registry_vm *vm = context->vm;
	if (state->state < WIRE_VM_WAITING || state->state > WIRE_VM_UNTRACED)
		return error_set(context->error, ERROR_PROTOCOL, "VM %u has the unknown state %u",
				 message->vm, state->state);

	bool new_uuid = state->has_uuid &&
			(!vm->has_uuid || memcmp(vm->uuid, state->uuid, sizeof(vm->uuid)) != 0);
	bool new_state = vm->agent_state != state->state || strcmp(vm->reason, state->reason) != 0;
	if (new_uuid || vm->has_uuid != state->has_uuid)
		vm->labels_sent = false;
	uint32_t before = vm->agent_state;
	uint64_t time = state->time ? state->time : context->now;
	if (before != state->state)
		vm->state_time = time;
	vm->agent_state = state->state;
	vm->boot = state->boot;
	vm->vcpus = state->vcpus;
	vm->has_uuid = state->has_uuid && uuid_is_set(state->uuid);
	memcpy(vm->uuid, state->uuid, sizeof(vm->uuid));
	vm->uuid_nanoseconds = state->uuid_nanoseconds;
	vm->profile_nanoseconds = state->profile_nanoseconds;
	vm->profile_cached = state->profile_cached;
	copy_text(vm->kernel, sizeof(vm->kernel), state->kernel);
	copy_text(vm->hook, sizeof(vm->hook), state->hook);
	copy_text(vm->reason, sizeof(vm->reason), state->reason);
	vm->described = true;
	context->registry->changes++;
	if (new_uuid)
		continue_life(context->registry, vm, context->now);
	follow_kernel(context->registry, vm, before, time);

	if (new_state)
		notify_state(context);
	if (new_uuid && registry_uuid_conflict(context->registry, vm))
		notify(context->registry, "%s: another running VM claims the same UUID", vm->name);
	return true;
}

static bool apply_vm_gone(struct context *context, const struct wire_message *message)
{
	end_vm(context->registry, context->vm,
	       message->moment.time ? message->moment.time : context->now);
	return true;
}

static bool apply_boot(struct context *context, const struct wire_message *message)
{
	uint64_t time = message->moment.time ? message->moment.time : context->now;
	store_end_kernel(context->vm->store, time);
	report_unrecognisable(context->registry, context->vm, store_boot(context->vm->store, time),
			      time);
	context->registry->changes++;
	return true;
}

// The agent is sound, the daemon is full: go on, visibly incomplete.
static void report_full(struct context *context)
{
	if (store_add_gap(context->vm->store, "daemon-full", context->error->message, 1,
			  context->now))
		context->registry->changes++;
	*context->error = (struct error){0};
}

// The bit that is ours for one of the agent's. What has no name, or finds no free bit, is
// "classified": too much is shown then, not too little.
static unsigned int bit_of(struct context *context, unsigned int bit)
{
	struct registry_agent *agent = context->agent;
	char name[LABEL_NAME_SIZE];
	if (agent->label_bits[bit] >= 0)
		return (unsigned int)agent->label_bits[bit];
	snprintf(name, sizeof(name), "label-%u", bit);
	int assigned = labels_assign(context->registry->labels, name, LABELS_FOR_POLICY);
	agent->label_bits[bit] = (int8_t)(assigned < 0 ? 0 : assigned);
	return (unsigned int)agent->label_bits[bit];
}

static uint64_t our_labels(struct context *context, uint64_t labels)
{
	uint64_t ours = 0;
	for (; labels; labels &= labels - 1)
		ours |= 1ull << bit_of(context, (unsigned int)__builtin_ctzll(labels));
	return ours;
}

static bool apply_label_name(struct context *context, const struct wire_message *message)
{
	const struct wire_label_name *said = &message->label_name;
	char name[TEXT_ESCAPED_SIZE(WIRE_NAME_MAXIMUM)];
	if (said->bit >= LABELS || !*said->name)
		return error_set(context->error, ERROR_PROTOCOL, "label %u cannot be named",
				 said->bit);
	text_escape(said->name, name, LABEL_NAME_SIZE);
	int bit = labels_assign(context->registry->labels, name, LABELS_FOR_POLICY);
	if (bit < 0)
		notify(context->registry,
		       "%s: there is no room for the label '%s': what it marks is \"classified\"",
		       context->agent->name, name);
	context->agent->label_bits[said->bit] = (int8_t)(bit < 0 ? 0 : bit);
	return true;
}

// An object that comes with labels, and history was lost: how it got them is not known.
static void tell_of_object(struct context *context, const struct wire_object *object)
{
	const struct description description = {.references = 1, .fields = *object};
	if (context->registry->watcher && object->labels && context->agent->restarting &&
	    context->agent->left_out)
		context->registry->watcher(context->registry->watcher_context, context->vm,
					   &description, object->labels, NULL, 0, context->now);
}

static bool apply_object(struct context *context, const struct wire_message *message)
{
	struct wire_object object = message->object;
	object.labels = our_labels(context, object.labels);
	if (store_describe(context->vm->store, &object, context->error)) {
		tell_of_object(context, &object);
		return true;
	}
	if (context->error->code != ERROR_LIMIT)
		return false;
	report_full(context);
	return true;
}

static bool apply_edge(struct context *context, const struct wire_message *message)
{
	struct registry *registry = context->registry;
	struct registry_vm *vm = context->vm;
	struct wire_edge edge = message->edge;
	edge.labels = our_labels(context, edge.labels);
	if (!store_add_edge(vm->store, &edge, context->error))
		return false;
	const struct store_edge *added = store_last_edge(vm->store);
	origins_add(&vm->origins, added->event, edge.from, edge.to, edge.labels);
	origins_add_object(&vm->origins, added->event, added->to->object, edge.labels);
	if (registry->watcher)
		registry->watcher(registry->watcher_context, vm, added->to, edge.labels, added,
				  edge.from, context->now);
	return true;
}

static bool apply_moved(struct context *context, const struct wire_message *message)
{
	store_set_moved(context->vm->store, message->moved.sequence, message->moved.bytes);
	return true;
}

struct origin_clearing {
	struct origins *origins;
	uint64_t labels;
};

static void clear_origin(uint32_t number, uint32_t generation, void *context)
{
	const struct origin_clearing *clearing = context;
	origins_clear(clearing->origins, number, 0, clearing->labels);
}

static void clear_origins(struct registry_vm *vm, const struct store_object *object,
			  uint64_t labels)
{
	struct origin_clearing clearing = {&vm->origins, labels & object->labels};
	origins_clear(&vm->origins, 0, object->id, clearing.labels);
	store_for_each_number(object, clear_origin, &clearing);
}

bool registry_clear(struct registry_vm *vm, uint64_t id, uint64_t labels, uint64_t now)
{
	const struct store_object *object = store_object(vm->store, id);
	if (object)
		clear_origins(vm, object, labels);
	return store_clear(vm->store, id, labels, now);
}

void registry_clear_all(struct registry_vm *vm, uint64_t labels, uint64_t now)
{
	const struct store_object *object;
	for (uint64_t id = 0; (object = store_next_object(vm->store, id)); id = object->id)
		if (object->labels & labels)
			clear_origins(vm, object, labels);
	store_clear_all(vm->store, labels, now);
}

static bool apply_cleared(struct context *context, const struct wire_message *message)
{
	const struct wire_cleared *cleared = &message->cleared;
	uint64_t labels = our_labels(context, cleared->labels) & context->vm->may_clear;
	uint64_t time = cleared->time ? cleared->time : context->now;
	// What nobody has asked for, or a daemon before this one: rather too many labels.
	if (!labels)
		store_add_gap(context->vm->store, "cleared-unasked",
			      "the agent has taken labels away that this daemon was not asked to: they "
			      "stay listed",
			      1, context->now);
	else if (cleared->number == 0)
		registry_clear_all(context->vm, labels, time);
	else
		registry_clear(context->vm, store_id_of(context->vm->store, cleared->number),
			       labels, time);
	return true;
}

static bool apply_ended(struct context *context, const struct wire_message *message)
{
	store_end(context->vm->store, message->ended.number, message->ended.time);
	return true;
}

static bool apply_gap(struct context *context, const struct wire_message *message)
{
	const struct wire_gap *gap = &message->gap;
	size_t before, after;
	store_gaps(context->vm->store, &before);
	if (!store_set_gap(context->vm->store, gap->kind, gap->detail, gap->count, gap->time))
		return error_set(context->error, ERROR_MEMORY, "no memory for a gap of %s", context->vm->name);
	store_gaps(context->vm->store, &after);
	if (after != before) {
		context->registry->changes++;
		notify(context->registry, "%s: gap: %s: %s", context->vm->name, gap->kind,
		       gap->detail);
	}
	return true;
}

// What is done with each message of an agent; `adds`: a VM that is not known yet comes with it.
static const struct handler {
	uint16_t type;
	bool of_vm;
	bool adds;
	bool (*apply)(struct context *context, const struct wire_message *message);
} handlers[] = {
	{WIRE_RESTART, false, false, apply_restart},
	{WIRE_LABEL_NAME, false, false, apply_label_name},
	{WIRE_COUNTERS, true, false, apply_counters},
	{WIRE_VM, true, true, apply_vm},
	{WIRE_VM_GONE, true, false, apply_vm_gone},
	{WIRE_BOOT, true, true, apply_boot},
	{WIRE_OBJECT, true, true, apply_object},
	{WIRE_EDGE, true, true, apply_edge},
	{WIRE_MOVED, true, false, apply_moved},
	{WIRE_ENDED, true, false, apply_ended},
	{WIRE_CLEARED, true, false, apply_cleared},
	{WIRE_GAP, true, true, apply_gap},
};

static const struct handler *find_handler(uint16_t type)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (handlers[i].type == type)
			return &handlers[i];
	return NULL;
}

void registry_skip(struct registry_agent *agent, uint16_t type)
{
	agent->ignored++;
	if (type & WIRE_JOURNAL)
		agent->journal_received++;
}

bool registry_apply(struct registry *registry, struct registry_agent *agent,
		    const struct wire_message *message, uint64_t now, struct error *error)
{
	struct error own_error = {0};
	struct context context = {registry, agent, NULL, now, error ? error : &own_error};
	const struct handler *handler = find_handler(message->type);
	if (!handler)
		return error_set(error, ERROR_PROTOCOL, "an agent does not send frames of type %#x",
				 message->type);
	agent->heard_time = now;
	if (handler->of_vm) {
		context.error->code = ERROR_NONE;
		context.vm = handler->adds ? find_or_add_vm(registry, agent, message->vm, now, context.error)
					   : registry_vm_of(agent, message->vm);
		if (context.error->code != ERROR_NONE)
			return false; // not acknowledged, either
		if (!context.vm) {
			registry_skip(agent, message->type);
			return true;
		}
	}
	bool applied = handler->apply(&context, message);
	// What there was no memory for is not acknowledged, and sent again.
	if (message->type & WIRE_JOURNAL && (applied || context.error->code != ERROR_MEMORY))
		agent->journal_received++;
	return applied;
}

void registry_finish_restart(struct registry *registry, struct registry_agent *agent, uint64_t now)
{
	if (!agent->restarting)
		return;
	agent->restarting = false;
	for (size_t i = 0; i < agent->vms_count; i++) {
		struct registry_vm *vm = agent->vms[i];
		if (vm->gone)
			continue;
		store_finish_restart(vm->store, now);
		if (!vm->described)
			end_vm(registry, vm, now);
	}
	registry->changes++;
}

// From the database --------------------------------------------------------------------------

struct registry_agent *registry_restore_agent(struct registry *registry,
					      const struct registry_agent *saved)
{
	struct registry_agent *agent = malloc(sizeof(*agent));
	if (!agent)
		return NULL;
	*agent = *saved;
	agent->connected = false;
	agent->connection = NULL;
	agent->vms_count = 0;
	agent->program = strdup(saved->program);
	agent->name = strdup(saved->name);
	agent->run = strdup(saved->run);
	agent->vms = calloc(registry->limits.vms_per_agent, sizeof(struct registry_vm *));
	if (!agent->program || !agent->run || !agent->name || !agent->vms ||
	    registry_find_agent(registry, agent->instance)) {
		free_agent(agent);
		return NULL;
	}
	agent->next = registry->agents;
	registry->agents = agent;
	return agent;
}

struct registry_vm *registry_restore_vm(struct registry *registry, struct registry_agent *agent,
					const struct registry_vm *saved)
{
	if (registry->vms_count == registry->limits.vms ||
	    agent->vms_count == registry->limits.vms_per_agent || vm_by_name(registry, saved->name))
		return NULL;
	struct registry_vm *vm = malloc(sizeof(*vm));
	if (!vm)
		return NULL;
	*vm = *saved;
	vm->agent = agent;
	if (!make_store(registry, vm)) {
		free(vm);
		return NULL;
	}
	vm->serial = ++registry->last_serial;
	registry->vms[registry->vms_count++] = vm;
	agent->vms[agent->vms_count++] = vm;
	return vm;
}

// Which labels something holds or has held; where objects of the VM got them from is indexed.
static uint64_t index_labels(struct registry_vm *vm)
{
	const struct store_object *object;
	const struct store_edge *edge;
	uint64_t held = 0;
	for (uint64_t id = 0; (object = store_next_object(vm->store, id)); id = object->id)
		held |= object->labels;
	for (uint64_t event = 0; (edge = store_next_edge(vm->store, event)); event = edge->event) {
		held |= edge->labels;
		origins_add_object(&vm->origins, edge->event, edge->to->object, edge->labels);
	}
	return held;
}

static uint64_t labels_of_agent(const struct registry_agent *agent)
{
	uint64_t named = 0;
	for (unsigned int bit = 0; bit < LABELS; bit++)
		if (agent->label_bits[bit] >= 0)
			named |= 1ull << agent->label_bits[bit];
	return named;
}

void registry_finish_restoring(struct registry *registry, bool (*runs)(pid_t pid, uint64_t start),
			       uint64_t now)
{
	struct registry_agent *next;
	uint64_t held = 0;
	for (struct registry_agent *agent = registry->agents; agent; agent = next) {
		next = agent->next;
		agent->process_ended |= !runs(agent->pid, agent->process_start);
		// It was heard of last when the daemon before wrote for the last time.
		if (!agent->disconnected_time || agent->disconnected_time < agent->heard_time)
			agent->disconnected_time = agent->heard_time ? agent->heard_time : now;
		for (size_t i = 0; i < agent->vms_count; i++)
			if (!agent->vms[i]->gone && agent->process_ended)
				end_vm(registry, agent->vms[i], agent->disconnected_time);
		for (size_t i = 0; i < agent->vms_count; i++)
			held |= index_labels(agent->vms[i]);
		if (!agent->process_ended)
			held |= labels_of_agent(agent);
		forget_agent_if_idle(registry, agent);
	}
	labels_keep(registry->labels, held);
	registry->changes++;
}

// From another host --------------------------------------------------------------------------

bool registry_is_durable(const struct registry *registry)
{
	return registry->limits.durable;
}

const struct store_limits *registry_store_limits(const struct registry *registry)
{
	return &registry->limits.store;
}

struct registry_vm *registry_staged(const struct registry *registry)
{
	return registry->staged;
}

// Its process was on another host: it has ended.
static struct registry_agent *stage_agent(const struct registry *registry, const char *name,
					  uid_t user)
{
	struct wire_hello hello = {.program = "", .name = name, .run = ""};
	if (getrandom(hello.instance, sizeof(hello.instance), 0) != sizeof(hello.instance))
		return NULL;
	struct registry_agent *agent = make_agent(registry, &hello, 0, user);
	if (!agent)
		return NULL;
	agent->process_ended = true;
	return agent;
}

struct registry_vm *registry_stage_vm(struct registry *registry, const char *name, uid_t user)
{
	struct registry_vm *vm = calloc(1, sizeof(*vm));
	struct registry_agent *agent = vm ? stage_agent(registry, name, user) : NULL;
	if (!agent || !make_store(registry, vm)) {
		if (agent)
			free_agent(agent);
		free(vm);
		return NULL;
	}
	vm->agent = agent;
	vm->number = 1;
	vm->gone = vm->staged = true;
	snprintf(vm->name, sizeof(vm->name), "%s", name);
	vm->next_staged = registry->staged;
	registry->staged = vm;
	return vm;
}

static void remove_staged(struct registry *registry, const struct registry_vm *vm)
{
	struct registry_vm **link = &registry->staged;
	while (*link != vm)
		link = &(*link)->next_staged;
	*link = vm->next_staged;
}

void registry_unstage_vm(struct registry *registry, struct registry_vm *vm)
{
	remove_staged(registry, vm);
	row_forgotten(registry, true, vm->row);
	free_agent(vm->agent);
	free_vm(vm);
}

bool registry_check_admission(const struct registry *registry, const struct registry_vm *vm,
			      bool replace, struct error *error)
{
	for (size_t i = 0; i < registry->vms_count; i++) {
		const struct registry_vm *other = registry->vms[i];
		if (!same_uuid(vm, other))
			continue;
		if (is_running(other))
			return error_set(error, ERROR_INVALID,
					 "the VM runs here, as %s: what it did before can be "
					 "imported when it does not run",
					 other->name);
		if (!replace)
			return error_set(error, ERROR_INVALID,
					 "the VM is known here, as %s: `nijimi import --replace` "
					 "puts what is in the file in the place of what is known",
					 other->name);
	}
	if (registry->vms_count == registry->limits.vms &&
	    !oldest_over(registry->vms, registry->vms_count, NULL))
		return error_set(error, ERROR_LIMIT, "there are %zu VMs already, and all run",
				 registry->vms_count);
	return true;
}

static bool forget_known(struct registry *registry, const struct registry_vm *vm)
{
	bool forgotten = false;
	for (size_t i = registry->vms_count; i > 0; i--) {
		struct registry_vm *other = registry->vms[i - 1];
		if (!same_uuid(vm, other))
			continue;
		forget_vm(registry, other);
		forgotten = true;
	}
	return forgotten;
}

bool registry_admit(struct registry *registry, struct registry_vm *vm)
{
	struct registry_agent *agent = vm->agent;
	bool replaced = forget_known(registry, vm);
	if (registry->vms_count == registry->limits.vms)
		forget_vm(registry, oldest_over(registry->vms, registry->vms_count, NULL));
	remove_staged(registry, vm);
	if (vm_by_name(registry, vm->name)) {
		char wanted[REGISTRY_NAME_SIZE];
		strcpy(wanted, vm->name);
		numbered_name(registry, wanted, '-', 2, vm->name);
	}
	agent->next = registry->agents;
	registry->agents = agent;
	agent->disconnected_time = vm->state_time;
	agent->vms[agent->vms_count++] = vm;
	vm->serial = ++registry->last_serial;
	registry->vms[registry->vms_count++] = vm;
	index_labels(vm);
	registry->changes++;
	notify(registry, "%s: imported from another host", vm->name);
	return replaced;
}

// Forgetting ---------------------------------------------------------------------------------

void registry_forget_before(struct registry *registry, uint64_t time)
{
	const struct store_forgetting aim = {
		.before = time, .edges = UINT64_MAX, .ended = UINT64_MAX};
	for (size_t i = 0; i < registry->vms_count; i++)
		store_vacuum_begin(registry->vms[i]->store, &aim);
}

// What one VM has does not push out what the others have: only those that have as much as all have on average.
bool registry_forget_part(struct registry *registry)
{
	struct store *largest = NULL;
	uint64_t all = 0;
	for (size_t i = 0; i < registry->vms_count; i++)
		all += store_records(registry->vms[i]->store);
	for (size_t i = 0; i < registry->vms_count; i++) {
		struct store *store = registry->vms[i]->store;
		if (store_records(store) >= all / registry->vms_count &&
		    store_history(store) > (largest ? store_history(largest) : 0) &&
		    !store_vacuum_is_fruitless(store))
			largest = store;
	}
	if (largest)
		store_vacuum_begin_part(largest);
	return largest;
}

bool registry_vacuum(struct registry *registry, size_t units)
{
	enum { DROPS = 4096 }; // that are written at once
	bool more = false;
	for (size_t i = 0; i < registry->vms_count; i++) {
		struct store *store = registry->vms[i]->store;
		struct store_forgetting aim;
		if (store_vacuum_is_due(store, &aim))
			store_vacuum_begin(store, &aim);
		if (store_vacuum_runs(store) && store_unwritten_drops(store) < DROPS)
			more |= store_vacuum_work(store, units) &&
				store_unwritten_drops(store) < DROPS;
	}
	return more;
}

bool registry_vacuum_runs(const struct registry *registry)
{
	for (size_t i = 0; i < registry->vms_count; i++)
		if (store_vacuum_runs(registry->vms[i]->store))
			return true;
	return false;
}

void registry_destroy(struct registry *registry)
{
	if (!registry)
		return;
	for (size_t i = 0; i < registry->vms_count; i++)
		free_vm(registry->vms[i]);
	while (registry->staged)
		registry_unstage_vm(registry, registry->staged);
	while (registry->agents) {
		struct registry_agent *agent = registry->agents;
		registry->agents = agent->next;
		free_agent(agent);
	}
	free(registry->vms);
	free(registry->labels);
	audit_destroy(registry->audit);
	free(registry);
}
