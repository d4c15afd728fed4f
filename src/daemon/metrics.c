/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/metrics.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/stream.h"
#include "base/text.h"
#include "daemon/process.h"
#include "daemon/uuid.h"

struct page {
	FILE *stream;
	const struct registry *registry;
	const struct request_situation *situation;
};

// Text ---------------------------------------------------------------------------------------

// A family of series: its lines have to follow.
static void begin(struct page *page, const char *name, const char *type, const char *help)
{
	fprintf(page->stream, "# HELP nijimi_%s %s\n# TYPE nijimi_%s %s\n", name, help, name, type);
}

static void put_number(struct page *page, const char *name, uint64_t value)
{
	fprintf(page->stream, "nijimi_%s %" PRIu64 "\n", name, value);
}

static void put_seconds(struct page *page, const char *name, uint64_t nanoseconds)
{
	fprintf(page->stream, "nijimi_%s %" PRIu64 ".%03u\n", name, nanoseconds / 1000000000,
		(unsigned int)(nanoseconds / 1000000 % 1000));
}

// The text is safe already (base/text.h), so only what the format itself uses has to be escaped.
static void put_label(struct page *page, char separator, const char *key, const char *safe_text)
{
	fprintf(page->stream, "%c%s=\"", separator, key);
	for (const char *at = safe_text; *at; at++) {
		if (*at == '\\' || *at == '"')
			fputc('\\', page->stream);
		fputc(*at, page->stream);
	}
	fputc('"', page->stream);
}

static void put_doubtful_label(struct page *page, char separator, const char *key, const char *text)
{
	char safe[TEXT_ESCAPED_SIZE(WIRE_TEXT_MAXIMUM)];
	put_label(page, separator, key, text_escape(text, safe, sizeof(safe)));
}

static void end_labels(struct page *page, uint64_t value)
{
	fprintf(page->stream, "} %" PRIu64 "\n", value);
}

// The daemon ---------------------------------------------------------------------------------

static void put_daemon(struct page *page)
{
	const struct request_situation *situation = page->situation;
	begin(page, "build_info", "gauge", "1; the version is in the label.");
	fprintf(page->stream, "nijimi_build_info{version=\"%s\"} 1\n", NIJIMI_VERSION);
	begin(page, "start_time_seconds", "gauge", "When the daemon started, since the epoch.");
	put_seconds(page, "start_time_seconds", situation->start_time);
	begin(page, "resident_memory_bytes", "gauge", "Memory of the daemon.");
	put_number(page, "resident_memory_bytes", process_memory());
	begin(page, "agents_connected", "gauge", "Agents that are connected.");
	put_number(page, "agents_connected", situation->agent_connections);
	begin(page, "clients_connected", "gauge", "Clients that are connected.");
	put_number(page, "clients_connected", situation->client_connections);

	uint64_t ignored = 0;
	for (const struct registry_agent *agent = registry_agents(page->registry); agent;
	     agent = agent->next)
		ignored += agent->ignored;
	begin(page, "agent_messages_ignored", "gauge",
	      "Messages of the agents now listed that could not be applied.");
	put_number(page, "agent_messages_ignored", ignored);
	if (!situation->durable)
		return;
	begin(page, "agent_messages_unsaved", "gauge",
	      "Messages of agents that are not in the database yet.");
	put_number(page, "agent_messages_unsaved", registry_unsaved(page->registry));
}

static void put_database(struct page *page)
{
	const struct keeper_status *database = &page->situation->database;
	if (!page->situation->durable)
		return;
	begin(page, "database_bytes", "gauge", "Size of the database, its log included.");
	put_number(page, "database_bytes", keeper_size(database));
	begin(page, "database_failing", "gauge", "1: it cannot be written.");
	put_number(page, "database_failing", database->failure != NULL);
	begin(page, "database_saved_time_seconds", "gauge",
	      "When it was written for the last time, since the epoch.");
	put_seconds(page, "database_saved_time_seconds", database->saved_time);
}

// Alerts -------------------------------------------------------------------------------------

static void put_deliveries(struct page *page, struct json_object *deliveries)
{
	static const struct {
		const char *name, *key, *type, *help;
	} families[] = {
		{"delivery_queued", "queued", "gauge", "Alerts that wait for this destination."},
		{"delivery_delivered_total", "delivered", "counter", "Alerts that have arrived."},
		{"delivery_failures_total", "failures", "counter", "Attempts that failed."},
		{"delivery_lost_total", "lost", "counter", "Alerts that did not wait any longer."},
	};
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		begin(page, families[i].name, families[i].type, families[i].help);
		for (size_t j = 0; j < json_object_array_length(deliveries); j++) {
			struct json_object *delivery = json_object_array_get_idx(deliveries, j);
			// There can be two of a sort: so they are numbered.
			fprintf(page->stream, "nijimi_%s{number=\"%zu\"", families[i].name, j + 1);
			put_label(page, ',', "to",
				  json_object_get_string(json_object_object_get(delivery, "to")));
			end_labels(page, json_object_get_uint64(json_object_object_get(
						 delivery, families[i].key)));
		}
	}
}

static void put_alerts(struct page *page)
{
	const struct policy_state *policy = page->situation->policy;
	const struct alerts *alerts = policy ? policy_state_alerts(policy) : NULL;
	if (!alerts)
		return;
	begin(page, "alerts_total", "counter", "Alerts that were raised.");
	put_number(page, "alerts_total", alerts_raised(alerts));
	begin(page, "alerts_held_back_total", "counter", "Alerts over the limit of a minute.");
	put_number(page, "alerts_held_back_total", alerts_held_back(alerts));
	struct json_object *deliveries = deliveries_render(alerts_deliveries(alerts));
	if (deliveries)
		put_deliveries(page, deliveries);
	json_object_put(deliveries);
}

// VMs ----------------------------------------------------------------------------------------

static void put_states(struct page *page)
{
	uint64_t counts[REGISTRY_GONE + 1] = {0};
	struct registry_vm *const *vms;
	size_t count = registry_vms(page->registry, &vms);
	for (size_t i = 0; i < count; i++)
		counts[registry_vm_state(vms[i])]++;
	begin(page, "vms", "gauge", "VMs that are listed, by state.");
	for (int state = 0; state <= REGISTRY_GONE; state++)
		fprintf(page->stream, "nijimi_vms{state=\"%s\"} %" PRIu64 "\n",
			registry_state_name((enum registry_vm_state)state), counts[state]);
}

static bool get_armed(const struct registry_vm *vm, uint64_t *value)
{
	*value = registry_vm_state(vm) == REGISTRY_ARMED;
	return true;
}

static bool get_entries(const struct registry_vm *vm, uint64_t *value)
{
	return store_counter(vm->store, "syscall_entries", value);
}

static bool get_exits(const struct registry_vm *vm, uint64_t *value)
{
	return store_counter(vm->store, "syscall_exits", value);
}

static bool get_followed(const struct registry_vm *vm, uint64_t *value)
{
	return store_counter(vm->store, "syscalls_followed", value);
}

static bool get_memory(const struct registry_vm *vm, uint64_t *value)
{
	return store_counter(vm->store, "engine_bytes", value);
}

static bool get_edges(const struct registry_vm *vm, uint64_t *value)
{
	const struct store_totals *totals = store_totals(vm->store);
	*value = totals->edges + totals->edges_dropped;
	return true;
}

static bool get_gaps(const struct registry_vm *vm, uint64_t *value)
{
	*value = store_gap_count(vm->store);
	return true;
}

static bool get_files(const struct registry_vm *vm, uint64_t *value)
{
	*value = store_totals(vm->store)->managed[WIRE_FILE];
	return true;
}

static bool get_processes(const struct registry_vm *vm, uint64_t *value)
{
	*value = store_totals(vm->store)->managed[WIRE_PROCESS];
	return true;
}

static bool get_sockets(const struct registry_vm *vm, uint64_t *value)
{
	*value = store_totals(vm->store)->managed[WIRE_SOCKET];
	return true;
}

static bool get_store_bytes(const struct registry_vm *vm, uint64_t *value)
{
	*value = store_totals(vm->store)->bytes;
	return true;
}

static void put_vms(struct page *page)
{
	// A row a family. `get` is false where a VM's agent does not say.
	static const struct {
		const char *name, *type;
		bool (*get)(const struct registry_vm *vm, uint64_t *value);
		const char *help;
	} families[] = {
		{"vm_armed", "gauge", get_armed, "1: the VM is traced."},
		{"vm_syscall_entries_total", "counter", get_entries,
		 "Entries of system calls that were seen."},
		{"vm_syscall_exits_total", "counter", get_exits,
		 "Exits of system calls that were seen."},
		{"vm_syscalls_followed_total", "counter", get_followed,
		 "System calls that could move something."},
		{"vm_edges_total", "counter", get_edges, "Steps of diffusion."},
		{"vm_gaps_total", "counter", get_gaps, "What could not be followed."},
		{"vm_managed_files", "gauge", get_files, "Files that hold classified information."},
		{"vm_managed_processes", "gauge", get_processes, "Processes that hold it."},
		{"vm_managed_sockets", "gauge", get_sockets, "Sockets that hold it."},
		{"vm_store_bytes", "gauge", get_store_bytes,
		 "Memory in the daemon for what is known of the VM."},
		{"vm_agent_bytes", "gauge", get_memory,
		 "Memory in the VMM for the VM's diffusion state."},
	};
	struct registry_vm *const *vms;
	size_t count = registry_vms(page->registry, &vms);
	char uuid[UUID_TEXT_SIZE];
	begin(page, "vm_info", "gauge", "1; what the VM is, in the labels.");
	for (size_t i = 0; i < count; i++) {
		if (vms[i]->gone)
			continue;
		fputs("nijimi_vm_info", page->stream);
		put_label(page, '{', "vm", vms[i]->name);
		put_label(page, ',', "uuid",
			  vms[i]->has_uuid ? uuid_format(vms[i]->uuid, uuid) : "");
		put_doubtful_label(page, ',', "kernel", vms[i]->kernel);
		put_label(page, ',', "state", registry_state_name(registry_vm_state(vms[i])));
		end_labels(page, 1);
	}
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		begin(page, families[i].name, families[i].type, families[i].help);
		for (size_t j = 0; j < count; j++) {
			uint64_t value;
			if (vms[j]->gone || !families[i].get(vms[j], &value))
				continue;
			fprintf(page->stream, "nijimi_%s", families[i].name);
			put_label(page, '{', "vm", vms[j]->name);
			end_labels(page, value);
		}
	}
}

// Kinds of gap come from agents: so many that are told apart, and no more.
struct kinds {
	size_t count;
	struct {
		char name[WIRE_NAME_MAXIMUM + 1];
		uint64_t value;
	} rows[METRICS_GAP_KINDS];
	uint64_t other;
};

static void add_kind(struct kinds *kinds, const struct store_gap *gap)
{
	size_t i = 0;
	while (i < kinds->count && strcmp(kinds->rows[i].name, gap->kind) != 0)
		i++;
	if (i == METRICS_GAP_KINDS) {
		kinds->other += gap->count;
		return;
	}
	if (i == kinds->count) {
		memcpy(kinds->rows[i].name, gap->kind, sizeof(gap->kind));
		kinds->rows[i].value = 0;
		kinds->count++;
	}
	kinds->rows[i].value += gap->count;
}

static void put_gaps(struct page *page)
{
	struct kinds kinds = {0};
	struct registry_vm *const *vms;
	size_t count = registry_vms(page->registry, &vms);
	for (size_t i = 0; i < count; i++) {
		size_t gaps;
		const struct store_gap *gap = store_gaps(vms[i]->store, &gaps);
		for (; !vms[i]->gone && gaps > 0; gaps--, gap++)
			add_kind(&kinds, gap);
	}
	begin(page, "gaps", "gauge",
	      "What could not be followed in the VMs that are not gone, by kind.");
	for (size_t i = 0; i < kinds.count; i++) {
		fputs("nijimi_gaps", page->stream);
		put_doubtful_label(page, '{', "kind", kinds.rows[i].name);
		end_labels(page, kinds.rows[i].value);
	}
	// Not "other", which a kind could be called.
	if (kinds.other)
		fprintf(page->stream, "nijimi_gaps{kind=\"(other)\"} %" PRIu64 "\n", kinds.other);
}

char *metrics_render(const struct registry *registry, const struct request_situation *situation,
		     size_t *length)
{
	char *text = NULL;
	struct page page = {.registry = registry, .situation = situation};
	page.stream = stream_open(&text, length);
	if (!page.stream)
		return NULL;
	put_daemon(&page);
	put_database(&page);
	put_alerts(&page);
	put_states(&page);
	put_vms(&page);
	put_gaps(&page);
	return stream_finish(page.stream, &text) ? text : NULL;
}
