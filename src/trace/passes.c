/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/spin.h"
#include "guest/dentry.h"
#include "guest/members.h"
#include "trace/compat.h"
#include "trace/endpoints.h"
#include "trace/internal.h"

/*
 * Calls that pass without being seen: trace_config.filter keeps them from stopping the vCPU.
 *
 * A thread may make a call on one inode unseen once one of its that does the same was seen, and was quiet (returns.c), or would have been as the
 * descriptor came to be: then the next one would be, too, as long as nothing changes. So all that could make a difference ends all passes at once:
 *
 * - labels that come to anything, or are about to (where leads are noted), and whatever makes a file of which it was
 *   known look classified when it is used next (the epoch of names). Then the table is emptied.
 * - A descriptor that means something else is another inode. Where others share the table it may mean something else while it is used: sharers.c.
 *
 * Of regular files that depends on the thread and on the inode by themselves: reading a file that holds nothing is quiet for everybody, writing
 * to it for whoever holds nothing. So there is a pass of the thread and one of the inode, and a new process needs only the first, which it
 * gets as it is made. But a file is classified by its names, and those depend on who looks, if that has a root of its own (chroot): such a
 * thread gets none. A file that is opened by a name by which it was looked at need not be looked at again (a pass of the name), as long as it
 * has no other.
 *
 * What is in no pipe, in no socket, or in no anonymous inode (eventfd), comes out of none: then that it is one is all that has to be known of an inode, and connections are of
 * no interest (what is kept under an address is of an older one). That is asked from time to time (a pass of the file system), not by vCPUs.
 *
 * Who is inside a call that has passed is not known. When labels come somewhere it has to be: before who brings
 * them goes on, the threads that had a pass are looked at (the census). What such a thread is doing stands in its
 * pt_regs; if it can be a call that has passed, that begins now, and the same is decided as at any entry. That the table
 * is emptied before the pt_regs are read, and that the filter reads the table after they were written, each with a full
 * barrier between, leaves no call that neither of the two sees.
 *
 * A call in progress has its return address somewhere below pt_regs (the kernel moves its stack by a random offset,
 * include/linux/randomize_kstack.h): all words there that hold it are watched. Those of calls that are over are nobody's.
 */

enum {
	STACK_BELOW = 2048, // the random offset (1 KiB) and the frames between
	WORDS_BELOW = STACK_BELOW / 8,
};

static _Thread_local bool is_deriving;

// Only calls that do nothing but move bytes; or show them, if it is a private mapping (begin_mmap()). What is quiet for one of them
// is so for those that do the same; a mapping shows what is read.
static const struct {
	uint16_t number;
	uint8_t does;
} kinds[] = {
	{ SYS_read, PASS_TAKES },
	{ SYS_pread64, PASS_TAKES },
	{ SYS_readv, PASS_TAKES },
	{ SYS_preadv, PASS_TAKES },
	{ SYS_preadv2, PASS_TAKES },
	{ SYS_recvfrom, PASS_TAKES },
	{ SYS_mmap, PASS_SHOWS },
	{ SYS_write, PASS_GIVES },
	{ SYS_pwrite64, PASS_GIVES },
	{ SYS_writev, PASS_GIVES },
	{ SYS_pwritev, PASS_GIVES },
	{ SYS_pwritev2, PASS_GIVES },
	{ SYS_sendto, PASS_GIVES },
	{ SYS_mprotect, PASS_PROTECTS },
	{ SYS_exit_group, PASS_ENDS },
	{ SYS_connect, PASS_CONNECTS },
	{ SYS_recvmsg, PASS_TAKES },
	{ SYS_sendmsg, PASS_GIVES },
	{ SYS_fchmod, PASS_MARKS },
	{ SYS_fchown, PASS_MARKS },
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };
static_assert((int)KINDS <= (int)TRACE_OPENING_KIND, "trace_pass.kinds has a bit for each");

int trace_pass_kind(uint32_t number)
{
	for (int i = 0; i < KINDS; i++)
		if (kinds[i].number == number)
			return i;
	return -1;
}

bool trace_passes_by_thread(uint32_t number)
{
	int kind = trace_pass_kind(number);
	return kind >= 0 && (kinds[kind].does & (PASS_PROTECTS | PASS_ENDS));
}

// The kernel refuses to open a socket, or what has no file system at all, anew (fs/inode.c: no_open()).
struct trace_unnamed trace_unnamed(void)
{
	return (struct trace_unnamed){ .always = ANON_INODE_FS_MAGIC, .if_alone = PIPEFS_MAGIC, .if_unconnected = SOCKFS_MAGIC };
}

/* Who may */

static bool all_from(const struct pending_call *call, const struct object_id *id, unsigned first)
{
	for (unsigned i = first; i < call->flow_count; i++)
		if (!object_id_equal(&call->flows[i].from.id, id))
			return false;
	return call->flow_count > first;
}

static void offer(struct trace_event *event, const struct guest_file *file, uint8_t does)
{
	struct pending_call *call = event->call;
	call->pass.does = does;
	call->pass.inode = file->inode;
	call->pass.inode_number = file->inode_number;
	call->pass.generation = file->generation;
	call->pass.of_anyone = S_ISREG(file->mode) && !guest_file_is_overlay(file);
	if (S_ISFIFO(file->mode) && trace_file_is_pipe(file))
		atomic_store_explicit(&event->trace->pipe_device, file->device, memory_order_relaxed);
}

// What else comes out of a file than what is in it may change without a call that is seen.
void trace_offer_reading(struct trace_event *event, const struct guest_file *file)
{
	struct pending_call *call = event->call;
	bool alone = call->flow_count == 1 && call->flows[0].from.id.kind == OBJECT_FILE;
	bool plain = (S_ISREG(file->mode) && !guest_file_is_overlay(file)) || S_ISFIFO(file->mode);
	if ((plain && alone) || call->pass.of_socket)
		offer(event, file, S_ISREG(file->mode) ? PASS_TAKES | PASS_SHOWS : PASS_TAKES);
}

void trace_offer_writing(struct trace_event *event, const struct guest_file *file)
{
	struct pending_call *call = event->call;
	const struct object_id *process = &call->process.id;
	if (call->pass.of_socket ? object_id_equal(&call->flows[0].from.id, process) &&
					   (call->flow_count == 1 || all_from(call, &call->flows[0].to.id, 1))
				 : !trace_file_is_socket(file) && all_from(call, process, 0))
		offer(event, file, PASS_GIVES);
}

void trace_offer_attributes(struct trace_event *event, const struct guest_file *file)
{
	offer(event, file, PASS_MARKS);
}

// The place of the task, or where it belongs.
static struct pass_holder *holder_of(struct trace *trace, uint64_t task)
{
	uint32_t bucket = trace_hash_task(task) & (PASS_HOLDERS - 1);
	while (trace->pass_holders[bucket].task && trace->pass_holders[bucket].task != task)
		bucket = (bucket + 1) & (PASS_HOLDERS - 1);
	return &trace->pass_holders[bucket];
}

/** A thread that may get a pass. */
struct candidate {
	uint64_t task, start_time, pt_regs, viewer, files;
	const struct object_id *process;
};

// While a descriptor is being put in another's place it is not known what is used (descriptors.c).
static bool note_if_sharing(struct trace *trace, const struct candidate *thread)
{
	const struct pass_holder sharer = { .task = thread->task, .start_time = thread->start_time, .pt_regs = thread->pt_regs };
	return !trace_table_is_shared(trace->kernel, thread->files) ||
	       (atomic_load(&trace->installers) == 0 && trace_note_sharer(trace, &sharer, thread->files));
}

static bool note_holder(struct trace *trace, const struct candidate *thread)
{
	struct pass_holder *holder = holder_of(trace, thread->task);
	if (!note_if_sharing(trace, thread))
		return false;
	if (!holder->task && trace->pass_holder_count == PASS_HOLDERS / 2) {
		trace_end_passes(trace); // the census forgets them
		return false;
	}
	trace->pass_holder_count += !holder->task;
	*holder = (struct pass_holder){ thread->task, thread->start_time, thread->pt_regs, trace->census_count };
	return true;
}

void trace_note_original(struct trace *trace, uint32_t number, uint64_t original)
{
	uint64_t none = 0;
	if (number < SYSCALL_ROWS && atomic_load_explicit(&trace->originals[number], memory_order_relaxed) == 0)
		atomic_compare_exchange_strong(&trace->originals[number], &none, original);
}

static uint64_t original_of(const struct trace *trace, uint32_t number)
{
	return atomic_load_explicit(&trace->originals[number], memory_order_relaxed);
}

// All calls of one number come back to the same place.
static bool returns_as_others(const struct trace *trace, const struct pending_call *call)
{
	return trace_pass_kind(call->raw_number) < 0 || original_of(trace, call->raw_number) == call->original;
}

// What has passed is found in progress by where it returns to: so much of what does this as is known.
static uint32_t kinds_that(const struct trace *trace, uint8_t does)
{
	uint32_t found = 0;
	for (int i = 0; i < KINDS; i++)
		if ((kinds[i].does & does) && original_of(trace, kinds[i].number) != 0)
			found |= 1u << i;
	return found;
}

static void allow(struct trace *trace, const struct trace_pass *pass)
{
	trace->any_let = true;
	trace->config.filter.allow(trace->config.context, pass);
}

// Who has a root of its own sees files by other names.
static bool sees_what_others_do(struct trace *trace, uint64_t viewer)
{
	struct guest_root root;
	char path[GUEST_PATH_MAXIMUM];
	return viewer && guest_root_read(trace->kernel, viewer, &root) == GUEST_OK &&
	       guest_path(trace->kernel, root.dentry, root.mount, path, NULL) == GUEST_OK && strcmp(path, "/") == 0;
}

// A pass of the thread; `does`: besides reading and, if it holds nothing, writing and ending. Locked.
static bool let_thread(struct trace *trace, const struct candidate *thread, uint8_t does)
{
	struct trace_pass pass = { .of = PASS_OF_THREAD, .task = thread->task, .start_time = thread->start_time };
	bool holds = engine_labels_in_flight(trace->engine, thread->process) != 0;
	if (trace->pass_end || !sees_what_others_do(trace, thread->viewer) || !note_holder(trace, thread))
		return false;
	does = PASS_TAKES | PASS_SHOWS | PASS_CONNECTS | PASS_MARKS | (holds ? 0 : PASS_GIVES | PASS_ENDS | does);
	pass.kinds = kinds_that(trace, does) | 1u << TRACE_OPENING_KIND;
	allow(trace, &pass);
	return true;
}

static struct candidate caller(const struct pending_call *call)
{
	return (struct candidate){ call->task, call->task_start_time, call->pt_regs, call->pass.viewer, call->files, &call->process.id };
}

// Whether a pass can come of it at all.
static bool may_let(const struct trace *trace, const struct pending_call *call)
{
	return trace->config.filter.allow && call->slot != 0 && !call->compat && !call->pass.derived && call->task == call->thread &&
	       !trace->pass_end && call->pass.epoch == atomic_load(&trace->namespace_epoch);
}

static struct trace_pass pass_of_inode(const struct trace *trace, uint64_t inode, uint64_t inode_number, uint32_t generation,
				       uint8_t does)
{
	return (struct trace_pass){ .of = PASS_OF_INODE,
				    .inode = inode,
				    .inode_number = inode_number,
				    .generation = generation,
				    .kinds = kinds_that(trace, does) };
}

void trace_let_pass(struct trace *trace, const struct pending_call *call)
{
	if (call->pass.inode == 0 || !may_let(trace, call) || !returns_as_others(trace, call))
		return;
	const struct candidate thread = caller(call);
	struct trace_pass pass =
		pass_of_inode(trace, call->pass.inode, call->pass.inode_number, call->pass.generation, call->pass.does);
	if (!pass.kinds)
		return;
	// The thread's is good for others, too: of pipes and sockets, of files that somebody else has used.
	bool thread_is_let = let_thread(trace, &thread, 0);
	if (!call->pass.of_anyone || !thread_is_let) {
		if (!note_holder(trace, &thread))
			return;
		pass.of = PASS_OF_CALL;
		pass.task = call->task;
		pass.start_time = call->task_start_time;
	}
	allow(trace, &pass);
}

static void let_inode(struct trace *trace, const struct guest_file *file, uint8_t does)
{
	const struct trace_pass pass = pass_of_inode(trace, file->inode, file->inode_number, file->generation, does);
	if (pass.kinds)
		allow(trace, &pass);
}

void trace_let_open(struct trace_event *event, const struct guest_file *file)
{
	struct trace *trace = event->trace;
	const struct candidate thread = caller(event->call);
	struct guest_dentry dentry;
	if (!trace->config.filter.allow || file->links != 1 || guest_file_is_overlay(file) ||
	    guest_dentry_read(trace->kernel, file->dentry, &dentry) != GUEST_OK || !trace_lock(trace))
		return;
	const struct trace_pass pass = { .of = PASS_OF_NAME,
					 .inode = file->inode,
					 .inode_number = file->inode_number,
					 .generation = file->generation,
					 .kinds = 1u << TRACE_OPENING_KIND,
					 .mount = file->mount,
					 .dentry = file->dentry,
					 .parent = dentry.parent,
					 .name_hash = dentry.name_hash,
					 .name_length = dentry.name_length };
	if (may_let(trace, event->call) && dentry.inode == file->inode && let_thread(trace, &thread, 0)) {
		allow(trace, &pass);
		if (trace_keeps_nothing(file))
			let_inode(trace, file, PASS_TAKES | PASS_GIVES | PASS_SHOWS);
		else if (!trace_owners_matter(trace))
			let_inode(trace, file, PASS_MARKS);
	}
	trace_unlock(trace);
}

// Its registers lie as its parent's do.
void trace_let_child(struct trace *trace, const struct pending_call *fork, const struct guest_task *child,
		     const struct object_id *process)
{
	const struct pass_holder parent = { .task = fork->task, .start_time = fork->task_start_time, .pt_regs = fork->pt_regs };
	uint64_t stack;
	if (!trace->config.filter.allow)
		return;
	if (child->files && child->files == fork->files && !trace_note_sharer(trace, &parent, fork->files))
		trace_end_passes(trace); // it may have one
	if (!may_let(trace, fork) || guest_read_field(trace->kernel, child->address, FIELD_task_stack, &stack) != GUEST_OK || stack == 0)
		return;
	const struct candidate thread = { child->address, child->start_time, stack + fork->pt_regs % GUEST_STACK_SIZE, child->fs,
					  child->files, process };
	let_thread(trace, &thread, 0);
}

// All that is mapped is what was executed, and nothing of it is there that could not be used.
void trace_let_program(struct trace *trace, const struct pending_call *execve, const struct guest_task *task,
		       const struct object_id *process)
{
	const struct candidate thread = { task->address, task->start_time, execve->pt_regs, task->fs, task->files, process };
	if (may_let(trace, execve))
		let_thread(trace, &thread, PASS_PROTECTS);
}

void trace_note_unused_mapping(struct trace_event *event, const struct guest_file *file)
{
	struct trace *trace = event->trace;
	struct object_reference reference;
	if (!trace->config.filter.allow || !trace_file_reference(file, &reference) || !trace_lock(trace))
		return;
	if (engine_labels_in_flight(trace->engine, &reference.id))
		trace_empty_passes(trace);
	trace_unlock_only(trace);
}

enum imagined { IMAGINED_NOTHING, IMAGINED_QUIET, IMAGINED_MOVING }; // nothing that may pass

// As if the call of event->call were one of this number, on that file; `let`: others like it may pass.
static enum imagined imagine_call(struct trace_event *event, uint32_t call_number, int32_t descriptor, uint64_t file, bool let)
{
	struct trace *trace = event->trace;
	struct pending_call scratch;
	struct trace_event imagined = trace_imagine(event, event->call, descriptor, file, &scratch);
	scratch.row = &syscall_rows[call_number];
	scratch.arguments[0] = (uint64_t)descriptor;
	scratch.installs = scratch.only_watched = false;
	scratch.pass.inode = 0;
	scratch.pass.of_socket = false;
	scratch.pass.epoch = atomic_load(&trace->namespace_epoch);
	if (!scratch.row->begin(&imagined) || scratch.pass.inode == 0 || !trace_lock(trace))
		return IMAGINED_NOTHING;
	bool quiet = trace_moves_nothing(trace, &scratch);
	if (quiet && let)
		trace_let_pass(trace, &scratch);
	trace_unlock(trace);
	return quiet ? IMAGINED_QUIET : IMAGINED_MOVING;
}

bool trace_reading_is_quiet(struct trace_event *event, int32_t descriptor, uint64_t file)
{
	return imagine_call(event, SYS_read, descriptor, file, false) == IMAGINED_QUIET;
}

void trace_let_pass_ahead(struct trace_event *event, int32_t number, uint64_t file, bool reads, bool writes)
{
	const struct pending_call *call = event->call;
	if (!event->trace->config.filter.allow || call->slot == 0 || call->compat)
		return;
	// What a socket of another kind does when it is written to would be taken for done.
	if (reads && imagine_call(event, SYS_read, number, file, true) == IMAGINED_NOTHING)
		return;
	if (writes)
		imagine_call(event, SYS_write, number, file, true);
}

/* Whoever may pass, on any pipe, socket, or anonymous inode (eventfd, timerfd, ...) */

enum { PLACES_MAXIMUM = 4096, CALLS_MAXIMUM = 1024 }; // more are not looked at

static bool is_of(const struct trace *trace, uint32_t magic, const struct object_id *id)
{
	if (magic == SOCKFS_MAGIC)
		return id->kind == OBJECT_SOCKET || (id->kind == OBJECT_ENDPOINT && !trace_is_past(id));
	if (magic == ANON_INODE_FS_MAGIC)
		return trace_is_anonymous_inode(id);
	return id->kind == OBJECT_FILE && id->b == atomic_load_explicit(&trace->pipe_device, memory_order_relaxed);
}

static bool leads_into(const struct trace *trace, uint32_t magic, const struct pending_call *call)
{
	for (unsigned i = 0; i < call->flow_count; i++)
		if (is_of(trace, magic, &call->flows[i].to.id) && engine_labels_in_flight(trace->engine, &call->flows[i].from.id))
			return true;
	return false;
}

// Nor is anything about to come there.
static bool all_hold_nothing(const struct trace *trace, uint32_t magic)
{
	struct engine_statistics statistics;
	uint32_t calls = 0;
	engine_get_statistics(trace->engine, &statistics);
	if (statistics.objects != trace->watched_count || trace->watched_count > PLACES_MAXIMUM)
		return false;
	for (uint32_t i = 0; i < trace->watched_count; i++)
		if (is_of(trace, magic, &trace->watched[i].id))
			return false;
	for (const struct pending_call *call = trace->oldest; call; call = call->newer)
		if (++calls > CALLS_MAXIMUM || leads_into(trace, magic, call))
			return false;
	return true;
}

static void let_file_system(struct trace *trace, bool *let, uint32_t magic, uint32_t bits)
{
	const struct trace_pass pass = { .of = PASS_OF_FILE_SYSTEM, .inode = magic, .kinds = bits };
	if (!bits || (!*let && !all_hold_nothing(trace, magic)))
		return;
	*let = true;
	allow(trace, &pass); // again, too: others may have taken its place
}

void trace_let_messages(struct trace *trace)
{
	if (!trace->config.filter.allow || !trace_lock(trace))
		return;
	if (!trace->pass_end && !atomic_load(&trace->census)) {
		uint32_t moving = kinds_that(trace, PASS_TAKES | PASS_GIVES);
		if (atomic_load_explicit(&trace->pipe_device, memory_order_relaxed))
			let_file_system(trace, &trace->pipes_let, PIPEFS_MAGIC, moving | 1u << TRACE_OPENING_KIND);
		let_file_system(trace, &trace->sockets_let, SOCKFS_MAGIC,
				moving | kinds_that(trace, PASS_CONNECTS) | 1u << TRACE_OPENING_KIND);
		let_file_system(trace, &trace->anonymous_let, ANON_INODE_FS_MAGIC, moving);
	}
	trace_unlock_only(trace);
}

/* Nobody may any more */

// The kernel takes a thread's stack away when it has ended, before its task_struct.
static enum guest_life life_of(const struct trace *trace, const struct pass_holder *holder, struct guest_task *task)
{
	uint64_t stack;
	if (guest_task_read(trace->kernel, holder->task, task) != GUEST_OK)
		return GUEST_LIFE_UNCLEAR;
	if (task->start_time != holder->start_time)
		return GUEST_LIFE_ENDED;
	if (guest_read_field(trace->kernel, holder->task, FIELD_task_stack, &stack) != GUEST_OK)
		return GUEST_LIFE_UNCLEAR;
	return stack ? GUEST_LIFE_ALIVE : GUEST_LIFE_ENDED;
}

void trace_empty_passes(struct trace *trace)
{
	if (trace->any_let)
		trace->config.filter.forget(trace->config.context);
	trace->any_let = trace->pipes_let = trace->sockets_let = trace->anonymous_let = false;
}

void trace_end_passes(struct trace *trace)
{
	trace->pass_end = trace->any_let || trace->pass_holder_count > 0;
	if (!trace->pass_end && !atomic_load_explicit(&trace->census, memory_order_relaxed))
		trace->settled_at = trace->last_edge;
}

void trace_note_gain(struct trace *trace, const struct engine_edge *edge)
{
	struct watched_object *watched = trace_watched(trace, edge->to_number);
	trace->last_edge = edge->sequence;
	if (watched)
		watched->gained_at = edge->sequence;
}

// What a call takes from held no labels when it passed. So if that held some already when last all were known that had passed, it
// has been seen, and who sees it decides: it may be about to be refused.
bool trace_has_passed(struct trace *trace, const struct pending_call *call)
{
	for (unsigned i = 0; i < call->flow_count; i++) {
		struct engine_object object;
		const struct watched_object *watched =
			engine_find(trace->engine, &call->flows[i].from.id, &object) ? trace_watched(trace, object.number) : NULL;
		if (watched && watched->gained_at <= trace->settled_at)
			return false;
	}
	return true;
}

void trace_forget_passes(struct trace *trace)
{
	trace_empty_passes(trace);
	memset(trace->pass_holders, 0, sizeof(trace->pass_holders));
	for (size_t i = 0; i < SYSCALL_ROWS; i++)
		atomic_store_explicit(&trace->originals[i], 0, memory_order_relaxed);
	trace->pass_holder_count = 0;
	trace_forget_sharers(trace);
	trace->pass_end = false;
	atomic_store_explicit(&trace->pipe_device, 0, memory_order_relaxed);
	trace->settled_at = trace->emptied_at = trace->last_edge;
	atomic_store(&trace->census, false);
}

// Some each time. Whoever has ended makes no calls; who cannot be read may be alive. That others may be noted twice then does no harm.
void trace_drop_ended_holders(struct trace *trace)
{
	enum { AT_ONCE = 64, PARTS = 4 };
	static_assert(PASS_HOLDERS % AT_ONCE == 0, "a part does not go beyond the end");
	for (int part = 0; part < PARTS && trace_lock(trace); part++) {
		trace->sharers_full = false; // of them, too
		struct pass_holder *holder = &trace->pass_holders[trace->pass_holder_looked_at];
		for (const struct pass_holder *end = holder + AT_ONCE; holder < end; holder++) {
			struct guest_task task;
			if (!holder->task || life_of(trace, holder, &task) != GUEST_LIFE_ENDED)
				continue;
			holder->task = 0;
			trace->pass_holder_count--;
		}
		trace->pass_holder_looked_at = (trace->pass_holder_looked_at + AT_ONCE) % PASS_HOLDERS;
		trace_unlock_only(trace);
	}
}

void trace_names_changed(struct trace *trace)
{
	atomic_fetch_add_explicit(&trace->namespace_epoch, 1, memory_order_seq_cst);
	if (!trace->config.filter.forget || !trace_lock(trace))
		return;
	trace_empty_passes(trace);
	trace_unlock_only(trace);
}

// Whoever else has the socket under another number has it by its inode. Where others put another one under this number, that is told like
// a descriptor that comes (use_instead(), descriptors.c), and at the call's end.
void trace_addresses_change(struct trace_event *event, int64_t fd)
{
	struct trace *trace = event->trace;
	struct guest_file file;
	if (!trace->config.filter.forget)
		return;
	bool known = trace_read_descriptor(event, fd, &file);
	if (!trace_lock(trace))
		return;
	if (!known)
		trace_empty_passes(trace);
	else if (trace->any_let)
		trace->config.filter.forget_inode(trace->config.context, file.inode);
	trace_unlock_only(trace);
}

/* The census */

static enum trace_watching watch_words(struct trace *trace, const struct pending_call *call)
{
	uint64_t words[WORDS_BELOW];
	uint64_t start = call->pt_regs - sizeof(words);
	enum trace_watching found = RETURNS_NOT_THERE;
	if (guest_read_kernel(trace->kernel, start, words, sizeof(words)) != GUEST_OK)
		return RETURNS_NOT_THERE;
	for (unsigned i = 0; i < WORDS_BELOW; i++) {
		uint64_t slot = start + i * sizeof(words[0]);
		if (words[i] - trace->kernel->text >= trace->kernel->image_size ||
		    trace->config.returns.original(trace->config.context, slot, words[i]) != call->original)
			continue;
		enum trace_watching watching =
			trace->config.returns.watch(trace->config.context, slot, call->original);
		if (watching == RETURNS_FULL)
			return watching;
		if (watching == RETURNS_WATCHED)
			found = watching;
	}
	return found;
}

enum trace_watching trace_watch_return(struct trace *trace, const struct pending_call *call)
{
	if (call->pass.derived)
		return watch_words(trace, call);
	return trace->config.returns.watch(trace->config.context, call->slot, call->original);
}

_Atomic uint64_t *trace_note_seen(struct trace *trace, uint64_t thread)
{
	if (!trace->config.filter.allow)
		return NULL;
	uint32_t first = trace_hash_task(thread); // not all at the same place
	for (uint32_t i = 0; i < SEEN_TASKS; i++) {
		_Atomic uint64_t *place = &trace->seen_tasks[(first + i) & (SEEN_TASKS - 1)];
		uint64_t nobody = 0;
		if (atomic_compare_exchange_strong(place, &nobody, thread))
			return place;
	}
	return NULL;
}

void trace_forget_seen(_Atomic uint64_t *noted)
{
	if (noted)
		atomic_store(noted, 0);
}

static bool is_seen(struct trace *trace, uint64_t thread)
{
	for (unsigned i = 0; i < SEEN_TASKS; i++)
		if (atomic_load(&trace->seen_tasks[i]) == thread)
			return true;
	return false;
}

bool trace_uses_descriptor(uint32_t number)
{
	int kind = trace_pass_kind(number);
	return kind >= 0 && !trace_passes_by_thread(number) && number != SYS_mmap;
}

// What is under the number has changed, or does, since it was looked at.
static bool is_uncertain(const struct trace *trace, const struct guest_task *task, const struct trace_event *event)
{
	uint64_t file;
	return trace_uses_descriptor(event->raw_number) && trace_table_is_shared(trace->kernel, task->files) &&
	       (atomic_load(&trace->installers) != 0 ||
		guest_file_from_descriptor(trace->kernel, task, (int32_t)event->registers.di, &file) != GUEST_OK);
}

// Whether the thread, in this call, may be using what is changed.
static bool is_concerned(const struct trace *trace, const struct guest_task *task, struct trace_event *event,
			 const struct descriptor_change *change)
{
	uint64_t file;
	int32_t number = (int32_t)event->registers.di;
	if (!trace_uses_descriptor(event->raw_number) || number < change->first || number > change->last)
		return false;
	if (!change->file)
		return true;
	event->instead_number = number;
	event->instead_file = change->file;
	return guest_file_from_descriptor(trace->kernel, task, number, &file) != GUEST_OK || file != change->file;
}

void trace_derive_call(struct trace *trace, const struct pass_holder *holder, const struct descriptor_change *change)
{
	struct trace_event event;
	struct guest_task task;
	uint32_t number;
	if (is_seen(trace, holder->task) || life_of(trace, holder, &task) != GUEST_LIFE_ALIVE ||
	    !trace_read_event(trace, &trace->census_cpu, holder->pt_regs, &event))
		return;
	event.task = task;
	number = event.raw_number;
	if (trace_pass_kind(number) < 0 || original_of(trace, number) == 0 ||
	    trace_is_compat(event.kernel, holder->task) || (change && !is_concerned(trace, &task, &event, change)))
		return;
	// Its address is not known: that of pt_regs stands for it, which is no return address.
	event.slot = holder->pt_regs;
	event.original = original_of(trace, number);
	const struct trace_begun begun = { .row = &syscall_rows[number],
					   .cause = number,
					   .key = holder->task,
					   .derived = true,
					   .certain = change || is_uncertain(trace, &task, &event) };
	if (!trace_lock(trace))
		return;
	// One that was seen is known.
	const struct pending_call *known = trace_find_call(trace, holder->task);
	bool seen = known && !known->was_quiet;
	event.derived_after = trace->call_serial;
	trace_unlock(trace);
	if (!seen)
		trace_begin_call(&event, &begun);
}

// One that had a pass when the census was called for, from place *next on.
static bool take_holder(struct trace *trace, uint32_t *next, struct pass_holder *holder)
{
	for (; *next < PASS_HOLDERS && trace->pass_holder_count; ++*next) {
		struct pass_holder *place = &trace->pass_holders[*next];
		if (!place->task || place->census == trace->census_count)
			continue;
		*holder = *place;
		place->task = 0; // others may be found no more, and noted twice
		trace->pass_holder_count--;
		return true;
	}
	return false;
}

static void derive_all(struct trace *trace)
{
	struct pass_holder holder;
	uint64_t count = 0;
	uint32_t next = 0;
	bool more = true;
	while (more && trace_lock(trace)) {
		if (count != trace->census_count)
			next = 0; // another one is wanted
		count = trace->census_count;
		more = take_holder(trace, &next, &holder);
		if (more) {
			trace_unlock_only(trace);
			trace_derive_call(trace, &holder, NULL);
			continue;
		}
		// A mapping may not have been there yet, or not been usable, when that was asked, by a call that was over when it was looked for.
		if (original_of(trace, SYS_mmap) || original_of(trace, SYS_mprotect))
			trace_ask_all_mappers_again(trace);
		trace->settled_at = trace->emptied_at;
		atomic_store_explicit(&trace->census, false, memory_order_release);
		trace_unlock(trace);
	}
}

bool trace_begin_census(struct trace *trace)
{
	if (trace->pass_end) {
		trace->pass_end = false;
		trace->census_count++;
		trace->emptied_at = trace->last_edge;
		trace_empty_passes(trace);
		trace_forget_sharers(trace);
		atomic_store(&trace->census, true);
	}
	return atomic_load_explicit(&trace->census, memory_order_acquire);
}

bool trace_try_derive(struct trace *trace)
{
	if (atomic_flag_test_and_set_explicit(&trace->census_lock, memory_order_acquire))
		return false;
	is_deriving = true;
	return true;
}

void trace_end_deriving(struct trace *trace)
{
	is_deriving = false;
	atomic_flag_clear_explicit(&trace->census_lock, memory_order_release);
}

static bool is_census_wanted(struct trace *trace)
{
	return atomic_load_explicit(&trace->census, memory_order_acquire);
}

bool trace_start_deriving(struct trace *trace)
{
	for (uint64_t spins = 0; !atomic_load_explicit(&trace->abandoned, memory_order_relaxed); spins++) {
		if (trace_try_derive(trace)) {
			if (is_census_wanted(trace))
				derive_all(trace);
			return true;
		}
		spin(spins);
	}
	return false;
}

void trace_take_census(struct trace *trace)
{
	while (!is_deriving && is_census_wanted(trace) && trace_start_deriving(trace))
		trace_end_deriving(trace);
}

void trace_see_all(struct trace *trace)
{
	if (!trace_lock(trace))
		return;
	trace_end_passes(trace);
	trace_unlock(trace);
}
