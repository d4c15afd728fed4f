/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/policy.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/stream.h"
#include "base/text.h"
#include "daemon/render.h"
#include "daemon/uuid.h"

struct policy_state {
	struct registry *registry;
	char *path;
	struct policy *policy; // NULL: none
	int bits[POLICY_LABELS_MAXIMUM];
	uint64_t version;
	uint64_t load_time;		 // CLOCK_REALTIME ns
	struct policy_problems problems; // of the last reload
	struct error error;
	struct deliveries *deliveries;
	struct alerts *alerts;
	registry_notice notice;
	void *notice_context;
};

static uint64_t now_realtime(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void say(const struct policy_state *state, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(const struct policy_state *state, const char *format, ...)
{
	char line[1024];
	if (!state->notice)
		return;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	state->notice(state->notice_context, line);
}

static void consider(void *context, struct registry_vm *vm, const struct description *to,
		     uint64_t labels, const struct store_edge *edge, uint32_t from, uint64_t now)
{
	struct policy_state *state = context;
	if (state->policy)
		alerts_consider(state->alerts, state->policy, state->bits, vm, to, labels, edge,
				from, now);
}

// All labels get their bits, or none.
static bool assign_bits(const struct policy_state *state, const struct policy *policy,
			int bits[POLICY_LABELS_MAXIMUM], struct error *error)
{
	struct labels *labels = registry_labels(state->registry), trial = *labels;
	for (size_t i = 0; i < policy->label_count; i++) {
		bits[i] = labels_assign(&trial, policy->labels[i].name, 0);
		if (bits[i] < 0)
			return error_set(
				error, ERROR_LIMIT,
				"there is no room for the label '%s': with those of "
				"policies before, which objects may still hold, there are "
				"%d; a restart of nijimid forgets those that nothing holds "
				"any more",
				policy->labels[i].name, LABELS);
	}
	*labels = trial;
	return true;
}

static void put_in_force(struct policy_state *state, struct policy *policy, const int *bits)
{
	struct registry_vm *const *vms;
	policy_destroy(state->policy);
	state->policy = policy;
	memcpy(state->bits, bits, sizeof(state->bits));
	state->version++;
	state->load_time = now_realtime();
	alert_log_set_destinations(alerts_log(state->alerts), policy);
	for (size_t count = registry_vms(state->registry, &vms); count > 0; count--)
		vms[count - 1]->labels_sent = false;
	registry_touch(state->registry);
	say(state, "policy %s: %zu labels, %zu sinks, %zu rules, %zu ways to deliver alerts",
	    state->path, policy->label_count, policy->sink_count, policy->rule_count,
	    policy->delivery_count);
}

static bool load(struct policy_state *state, struct error *error)
{
	int bits[POLICY_LABELS_MAXIMUM] = {0};
	policy_problems_deinit(&state->problems);
	struct policy *policy = policy_load(state->path, &state->problems, error);
	for (size_t i = 0; i < state->problems.count; i++)
		say(state, "%s:%u:%u: %s", state->path, state->problems.items[i].line,
		    state->problems.items[i].column, state->problems.items[i].message);
	if (!policy)
		return false;
	if (!assign_bits(state, policy, bits, error)) {
		policy_destroy(policy);
		return false;
	}
	put_in_force(state, policy, bits);
	return true;
}

bool policy_state_reload(struct policy_state *state, struct error *error)
{
	state->error = (struct error){0};
	if (!state->path)
		return error_set(
			error, ERROR_UNSUPPORTED,
			"this daemon has no policy file: start nijimid with --policy FILE");
	if (load(state, &state->error))
		return true;
	say(state, "%s; %s", state->error.message,
	    state->policy ? "the policy from before stays in force" : "there is no policy");
	const struct policy_problem *first = state->problems.items;
	if (first)
		return error_set(error, ERROR_INVALID,
				 "%s (the first: line %u: %s); the policy from before stays in "
				 "force; `nijimi policy check %s` explains all",
				 state->error.message, first->line, first->message, state->path);
	return error_set(error, ERROR_INVALID, "%s; the policy from before stays in force",
			 state->error.message);
}

static bool init(struct policy_state *state, const char *path, struct error *error)
{
	state->deliveries = deliveries_create(state->notice, state->notice_context);
	if (state->deliveries)
		state->alerts = alerts_create(state->registry, state->deliveries);
	if (!state->alerts)
		return error_set(error, ERROR_MEMORY, "no memory for alerts");
	if (!path)
		return true;
	state->path = strdup(path);
	return state->path || error_set(error, ERROR_MEMORY, "no memory for a policy");
}

bool policy_state_start(struct policy_state *state, bool optional, struct error *error)
{
	bool missing = !state->path || (optional && access(state->path, F_OK) != 0);
	if (!missing && !load(state, error))
		return false;
	registry_set_watcher(state->registry, consider, state);
	return true;
}

void policy_state_finish(struct policy_state *state)
{
	registry_set_watcher(state->registry, NULL, NULL);
	deliveries_finish(state->deliveries);
}

struct policy_state *policy_state_create(struct registry *registry, const char *path,
					 registry_notice notice, void *context, struct error *error)
{
	struct policy_state *state = calloc(1, sizeof(*state));
	if (!state) {
		error_set(error, ERROR_MEMORY, "no memory for a policy");
		return NULL;
	}
	state->registry = registry;
	state->notice = notice;
	state->notice_context = context;
	if (!init(state, path, error)) {
		policy_state_destroy(state);
		return NULL;
	}
	return state;
}

void policy_state_destroy(struct policy_state *state)
{
	if (!state)
		return;
	registry_set_watcher(state->registry, NULL, NULL);
	deliveries_destroy(state->deliveries);
	alerts_destroy(state->alerts);
	policy_destroy(state->policy);
	policy_problems_deinit(&state->problems);
	free(state->path);
	free(state);
}

uint64_t policy_state_version(const struct policy_state *state)
{
	return state->version;
}

const char *policy_state_file(const struct policy_state *state)
{
	return state->policy ? state->path : NULL;
}

struct alerts *policy_state_alerts(const struct policy_state *state)
{
	return state->alerts;
}

uint64_t policy_state_tend(struct policy_state *state, uint64_t now)
{
	return alerts_tend(state->alerts, now);
}

// What agents are told -----------------------------------------------------------------------

static bool means(const struct policy_texts *vms, const struct registry_vm *vm)
{
	char uuid[UUID_TEXT_SIZE];
	return policy_vm_fits(vms, vm->name, vm->has_uuid ? uuid_format(vm->uuid, uuid) : NULL);
}

static bool applies(const struct policy_label *label, const struct registry_vm *vm)
{
	return means(&label->vms, vm);
}

static bool write_frame(FILE *file, const struct wire_message *message)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	size_t length = wire_encode(message, frame, sizeof(frame));
	return length > 0 && fwrite(frame, length, 1, file) == 1;
}

static bool write_label(FILE *file, const struct policy_label *label, uint16_t vm)
{
	_Static_assert((int)POLICY_FILES_MAXIMUM + MARKS_MAXIMUM <= WIRE_LABEL_FILES_MAXIMUM,
		       "the agent takes them all");
	_Static_assert((int)POLICY_BY_PATH == WIRE_BY_PATH && (int)POLICY_BY_GROUP == WIRE_BY_GROUP,
		       "criteria are the same bits");
	for (size_t i = 0; i < label->file_count; i++) {
		const struct policy_files *files = &label->files[i];
		struct wire_message message = {.type = WIRE_LABEL_FILES, .vm = vm};
		message.label_files = (struct wire_label_files){.label = label->name,
								.criteria = files->criteria,
								.device = files->device,
								.owner = files->owner,
								.group = files->group,
								.inode = files->inode,
								.path = files->path,
								.filesystem = files->filesystem};
		if (!write_frame(file, &message))
			return false;
	}
	return true;
}

static bool write_barrier(FILE *file, const struct policy *policy, uint64_t labels, uint16_t vm)
{
	size_t length = 0;
	bool blocks = policy && policy_blocked_labels(policy) & labels;
	unsigned char *bytes = blocks ? policy_pack(policy, labels, &length) : NULL;
	struct wire_message message = {.type = WIRE_BARRIER, .vm = vm};
	message.barrier.size = (uint32_t)length;
	bool done = (bytes || !blocks) && write_frame(file, &message);
	message.type = WIRE_BARRIER_PART;
	for (size_t at = 0; at < length && done; at += message.part.length) {
		size_t left = length - at;
		message.part.bytes = bytes + at;
		message.part.length = left < WIRE_PART_MAXIMUM ? (uint32_t)left : WIRE_PART_MAXIMUM;
		done = write_frame(file, &message);
	}
	free(bytes);
	return done;
}

// A row a program and a label, or all labels; without a file they are counted only.
static bool write_boundary(FILE *file, const struct policy *policy,
			   const struct policy_boundary *boundary, uint16_t vm, uint32_t *rows)
{
	struct wire_message message = {.type = WIRE_BOUNDARY, .vm = vm};
	bool all = boundary->labels == UINT64_MAX;
	for (size_t i = 0; i < boundary->programs.count; i++) {
		for (size_t label = 0; label < (all ? 1 : policy->label_count); label++) {
			if (!(boundary->labels >> label & 1))
				continue;
			++*rows;
			message.boundary = (struct wire_boundary){
				.program = boundary->programs.text[i],
				.label = all ? "" : policy->labels[label].name};
			if (file && !write_frame(file, &message))
				return false;
		}
	}
	return true;
}

static bool write_boundaries(FILE *file, const struct policy *policy, const struct registry_vm *vm)
{
	struct wire_message message = {.type = WIRE_BOUNDARIES, .vm = vm->number};
	size_t count = policy ? policy->boundary_count : 0;
	uint32_t written = 0;
	_Static_assert((int)POLICY_BOUNDARY_ROWS_MAXIMUM <= WIRE_BOUNDARIES_MAXIMUM,
		       "the agent takes them all");
	for (size_t i = 0; i < count; i++)
		if (means(&policy->boundaries[i].vms, vm))
			write_boundary(NULL, policy, &policy->boundaries[i], vm->number,
				       &message.boundaries.rows);
	bool done = write_frame(file, &message);
	for (size_t i = 0; i < count && done; i++)
		if (means(&policy->boundaries[i].vms, vm))
			done = write_boundary(file, policy, &policy->boundaries[i], vm->number,
					      &written);
	return done;
}

static bool write_mark(FILE *file, const struct mark *mark, uint16_t vm)
{
	cleanup_free char *glob = mark_glob(mark);
	struct wire_message message = {.type = WIRE_LABEL_FILES, .vm = vm};
	message.label_files = (struct wire_label_files){
		.label = mark->label, .criteria = WIRE_BY_PATH, .path = glob, .filesystem = ""};
	return glob && write_frame(file, &message);
}

// What was marked by hand is blocked as what the policy itself classifies.
static uint64_t marked_labels(const struct policy *policy, const struct registry_vm *vm)
{
	uint64_t labels = 0;
	for (size_t i = 0; policy && i < policy->label_count; i++)
		if (marks_have(&vm->marks, NULL, policy->labels[i].name))
			labels |= 1ull << i;
	return labels;
}

unsigned char *policy_state_frames(const struct policy_state *state, const struct registry_vm *vm,
				   size_t *length)
{
	const struct policy *policy = state->policy;
	size_t count = policy ? policy->label_count : 0;
	struct wire_message message = {.type = WIRE_LABELS, .vm = vm->number};
	uint64_t labels = 0;
	char *frames = NULL;
	FILE *file = stream_open(&frames, length);
	if (!file)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		if (!applies(&policy->labels[i], vm))
			continue;
		labels |= 1ull << i;
		message.labels.rows += (uint32_t)policy->labels[i].file_count;
	}
	message.labels.rows += (uint32_t)vm->marks.count;
	bool done = write_barrier(file, policy, labels | marked_labels(policy, vm), vm->number) &&
		    write_boundaries(file, policy, vm) && write_frame(file, &message);
	for (size_t i = 0; i < count && done; i++)
		if (labels >> i & 1)
			done = write_label(file, &policy->labels[i], vm->number);
	for (size_t i = 0; i < vm->marks.count && done; i++)
		done = write_mark(file, &vm->marks.items[i], vm->number);
	if (!stream_finish(file, &frames) || !done) {
		free(frames);
		return NULL;
	}
	return (unsigned char *)frames;
}

// What people are told -----------------------------------------------------------------------

static void add_text(struct json_object *object, const char *key, const char *text)
{
	if (text && *text)
		render_text(object, key, text);
	else
		json_object_object_add(object, key, NULL);
}

static void add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

static struct json_object *render_texts(const struct policy_texts *texts)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < texts->count; i++) {
		char safe[TEXT_ESCAPED_SIZE(4096)];
		json_object_array_add(list, json_object_new_string(text_escape(texts->text[i], safe,
									       sizeof(safe))));
	}
	return list;
}

struct json_object *policy_render_problems(const struct policy_problems *problems)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < problems->count; i++) {
		const struct policy_problem *problem = &problems->items[i];
		struct json_object *object = json_object_new_object();
		add_number(object, "line", problem->line);
		add_number(object, "column", problem->column);
		json_object_object_add(object, "message", json_object_new_string(problem->message));
		json_object_array_add(list, object);
	}
	return list;
}

static struct json_object *render_label(const struct policy_state *state,
					const struct policy_label *label)
{
	struct json_object *object = json_object_new_object(), *names = json_object_new_array();
	struct registry_vm *const *vms;
	size_t count = registry_vms(state->registry, &vms);
	for (size_t i = 0; i < count; i++)
		if (!vms[i]->gone && applies(label, vms[i]))
			json_object_array_add(names, json_object_new_string(vms[i]->name));
	add_text(object, "name", label->name);
	add_number(object, "files", label->file_count);
	json_object_object_add(object, "vms", render_texts(&label->vms));
	json_object_object_add(object, "now", names);
	return object;
}

static struct json_object *render_set(const struct policy *policy, uint64_t set, bool of_labels)
{
	size_t count = of_labels ? policy->label_count : policy->sink_count;
	struct json_object *names = json_object_new_array();
	for (size_t i = 0; i < count; i++)
		if (set >> i & 1)
			json_object_array_add(
				names, json_object_new_string(of_labels ? policy->labels[i].name
									: policy->sinks[i].name));
	return names;
}

static struct json_object *render_rule(const struct policy *policy, const struct policy_rule *rule)
{
	struct json_object *object = json_object_new_object();
	add_number(object, "line", rule->line);
	json_object_object_add(object, "labels", render_set(policy, rule->labels, true));
	json_object_object_add(object, "sinks", render_set(policy, rule->sinks, false));
	json_object_object_add(object, "programs", render_texts(&rule->programs));
	add_text(object, "action", policy_action_name(rule->action));
	return object;
}

static struct json_object *render_boundary(const struct policy_state *state,
					   const struct policy_boundary *boundary)
{
	struct json_object *object = json_object_new_object(), *names = json_object_new_array();
	struct registry_vm *const *vms;
	size_t count = registry_vms(state->registry, &vms);
	for (size_t i = 0; i < count; i++)
		if (!vms[i]->gone && means(&boundary->vms, vms[i]))
			json_object_array_add(names, json_object_new_string(vms[i]->name));
	json_object_object_add(object, "programs", render_texts(&boundary->programs));
	json_object_object_add(object, "labels",
			       boundary->labels == UINT64_MAX
				       ? NULL
				       : render_set(state->policy, boundary->labels, true));
	json_object_object_add(object, "vms", render_texts(&boundary->vms));
	json_object_object_add(object, "now", names);
	return object;
}

static void render_sections(const struct policy_state *state, struct json_object *object)
{
	const struct policy *policy = state->policy;
	struct json_object *labels = json_object_new_array(), *sinks = json_object_new_array();
	struct json_object *rules = json_object_new_array(), *networks = json_object_new_array();
	for (size_t i = 0; i < policy->label_count; i++)
		json_object_array_add(labels, render_label(state, &policy->labels[i]));
	for (size_t i = 0; i < policy->network_count; i++)
		json_object_array_add(networks, json_object_new_string(policy->networks[i].name));
	for (size_t i = 0; i < policy->sink_count; i++) {
		struct json_object *sink = json_object_new_object();
		add_text(sink, "name", policy->sinks[i].name);
		add_text(sink, "kind", policy_sink_kind_name(policy->sinks[i].kind));
		json_object_array_add(sinks, sink);
	}
	for (size_t i = 0; i < policy->rule_count; i++)
		json_object_array_add(rules, render_rule(policy, &policy->rules[i]));
	json_object_object_add(object, "labels", labels);
	json_object_object_add(object, "networks", networks);
	json_object_object_add(object, "sinks", sinks);
	json_object_object_add(object, "rules", rules);
	struct json_object *boundaries = json_object_new_array();
	for (size_t i = 0; i < policy->boundary_count; i++)
		json_object_array_add(boundaries,
				      render_boundary(state, &policy->boundaries[i]));
	json_object_object_add(object, "boundaries", boundaries);
	add_number(object, "alerts_a_minute", policy->alerts_a_minute);
	add_number(object, "repeat_seconds", policy->repeat_seconds);
	add_text(object, "failure", policy->fail_closed ? "closed" : "open");
}

struct json_object *policy_state_render(const struct policy_state *state)
{
	struct json_object *object = json_object_new_object();
	add_text(object, "file", state->path);
	json_object_object_add(object, "in_force", json_object_new_boolean(state->policy != NULL));
	add_number(object, "version", state->version);
	render_time(object, "loaded", state->load_time);
	add_text(object, "error", state->error.message);
	json_object_object_add(object, "problems", policy_render_problems(&state->problems));
	if (state->policy)
		render_sections(state, object);
	json_object_object_add(object, "deliveries", deliveries_render(state->deliveries));
	add_number(object, "alerts", alerts_raised(state->alerts));
	add_number(object, "held_back", alerts_held_back(state->alerts));
	return object;
}
