/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replay.h"
#include "guest/dentry.h"
#include "guest/file.h"
#include "guest/mapper.h"
#include "guest/members.h"
#include "guest/registers.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool replay_functions, replay_passes;

static const char *name_of(const struct replay *replay, uint32_t number)
{
	for (size_t i = 0; i < replay->object_count; i++)
		if (replay->objects[i].number == number)
			return replay->objects[i].name;
	return number ? "?" : "operator";
}

// The object's place: its own, if it was described before.
static struct replay_object *place_of(struct replay *replay, uint32_t number)
{
	for (size_t i = 0; i < replay->object_count; i++)
		if (replay->objects[i].number == number)
			return &replay->objects[i];
	if (replay->object_count == REPLAY_OBJECTS)
		return NULL;
	struct replay_object *object = &replay->objects[replay->object_count++];
	object->number = number;
	object->ended = false;
	return object;
}

static void take_object(struct replay *replay, const struct wire_object *wire)
{
	struct replay_object *object = place_of(replay, wire->number);
	if (!object)
		return;
	switch (wire->kind) {
	case WIRE_PROCESS:
		snprintf(object->name, sizeof(object->name), "%s", wire->name);
		break;
	case WIRE_FILE:
		snprintf(object->name, sizeof(object->name), "%s", wire->path);
		break;
	default:
		snprintf(object->name, sizeof(object->name), "%s<%s>",
			 wire->kind == WIRE_SOCKET ? "socket" : wire->denied ? "denied" :
			 wire->family == AF_UNSPEC && !wire->mode ? "no-way" : "way", // a policy asks for the others
			 wire->address);
		break;
	}
}

static void take_edge(struct replay *replay, const struct wire_edge *wire)
{
	if (replay->edge_count == REPLAY_EDGES)
		return;
	struct replay_edge *edge = &replay->edges[replay->edge_count++];
	snprintf(edge->from, sizeof(edge->from), "%s", name_of(replay, wire->from));
	snprintf(edge->to, sizeof(edge->to), "%s", name_of(replay, wire->to));
	snprintf(edge->cause, sizeof(edge->cause), "%s", wire->cause);
	edge->sequence = wire->sequence;
	edge->bytes = wire->bytes;
}

static void take_moved(struct replay *replay, const struct wire_moved *wire)
{
	replay->moved_count++;
	for (size_t i = 0; i < replay->edge_count; i++)
		if (replay->edges[i].sequence == wire->sequence)
			replay->edges[i].bytes = wire->bytes;
}

static void take_message(void *context, struct wire_message *message)
{
	struct replay *replay = context;
	pthread_mutex_lock(&replay->lock);
	switch (message->type) {
	case WIRE_OBJECT:
		take_object(replay, &message->object);
		break;
	case WIRE_EDGE:
		take_edge(replay, &message->edge);
		break;
	case WIRE_MOVED:
		take_moved(replay, &message->moved);
		break;
	case WIRE_ENDED:
		for (size_t i = 0; i < replay->object_count; i++)
			if (replay->objects[i].number == message->ended.number)
				replay->objects[i].ended = true;
		break;
	case WIRE_CLEARED:
		replay->cleared_count++;
		replay->last_cleared = message->cleared.number;
		break;
	case WIRE_GAP:
		replay->gap_count++;
		snprintf(replay->last_gap, sizeof(replay->last_gap), "%s: %s", message->gap.kind,
			 message->gap.detail);
		break;
	default:
		break;
	}
	pthread_mutex_unlock(&replay->lock);
}

// Where %gs:current_task lies, relative to the GS base.
static uint64_t current_offset(const struct guest_kernel *kernel)
{
	uint64_t address = guest_symbol(kernel, SYMBOL_current_task);
	if (address == 0)
		address = guest_symbol(kernel, SYMBOL_pcpu_hot) +
			  kernel->profile->fields[FIELD_pcpu_hot_current_task].offset;
	return address;
}

// The last pages of memory, one a CPU: nothing that these tests look at is there. The per-CPU area
// is placed so that its pointer to the current task falls into the page.
static void place_cpu(struct replay *replay, int cpu)
{
	const struct guest_kernel *kernel = replay->kernel;
	struct replay_cpu *slot = &replay->slots[cpu];
	uint64_t page = replay->recording->size - 4096 * (uint64_t)(cpu + 1);
	slot->registers_gpa = page;
	slot->registers = kernel->direct_map + page;
	slot->current = page + 2048;
	replay->cpus[cpu].gs_base = kernel->direct_map + slot->current - current_offset(kernel);
}

// struct pt_regs as quadwords.
enum { PT_BP = 4, PT_BX = 5, PT_CX = 11, PT_R10 = 7, PT_R9 = 8, PT_R8 = 9, PT_AX = 10, PT_DX = 12, PT_SI = 13, PT_DI = 14,
       PT_ORIG_AX = 15, PT_IP = 16, PT_CS = 17, PT_SIZE = 21 };

/*
 * Calls that are seen at functions: each task has a stack of its own, below those pages. What hook/patch.h does with the
 * return address is done here.
 */
enum { STACK_PT_REGS = 4096 - PT_SIZE * 8, STACK_SLOT = STACK_PT_REGS - 256, LANDING = 0x100 };

static struct replay_stack *stack_of(struct replay *replay, uint64_t task)
{
	struct replay_stack *stack = NULL;
	pthread_mutex_lock(&replay->lock);
	for (size_t i = 0; i < replay->stack_count && !stack; i++)
		if (replay->stacks[i].task == task)
			stack = &replay->stacks[i];
	if (!stack) {
		if (replay->stack_count == REPLAY_STACKS)
			abort();
		stack = &replay->stacks[replay->stack_count++];
		stack->task = task;
		// The last page of a stack, which lies at a multiple of its size.
		stack->page = replay->recording->size - GUEST_STACK_SIZE * (1 + replay->stack_count) - 4096;
		uint64_t begin = replay->kernel->direct_map + stack->page + 4096 - GUEST_STACK_SIZE, gpa;
		if (guest_locate(replay->kernel, task + guest_offset(replay->kernel, FIELD_task_stack), &gpa) == GUEST_OK) {
			memcpy(&stack->before, replay->recording->ram + gpa, sizeof(uint64_t));
			memcpy(replay->recording->ram + gpa, &begin, sizeof(begin));
			stack->field = gpa;
		}
	}
	pthread_mutex_unlock(&replay->lock);
	return stack;
}

static _Atomic uint64_t *slot_of(const struct replay *replay, const struct replay_stack *stack)
{
	return (_Atomic uint64_t *)(void *)(replay->recording->ram + stack->page + STACK_SLOT);
}

static enum trace_watching watch(void *context, uint64_t slot, uint64_t original)
{
	struct replay *replay = context;
	uint64_t gpa = slot - replay->kernel->direct_map;
	_Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(replay->recording->ram + gpa);
	return atomic_compare_exchange_strong(word, &original, replay->kernel->text + LANDING) ||
			       original == replay->kernel->text + LANDING
		       ? RETURNS_WATCHED
		       : RETURNS_NOT_THERE;
}

static uint64_t original(void *context, uint64_t slot, uint64_t word)
{
	const struct replay *replay = context;
	return word == replay->kernel->text + LANDING ? replay->kernel->text : word;
}

/* What hook/filter.h does. */

static void allow(void *context, const struct trace_pass *pass)
{
	struct replay *replay = context;
	pthread_mutex_lock(&replay->lock);
	if (replay->pass_count < REPLAY_PASSES)
		replay->passes[replay->pass_count++] = *pass;
	pthread_mutex_unlock(&replay->lock);
}

static void forget(void *context)
{
	struct replay *replay = context;
	pthread_mutex_lock(&replay->lock);
	replay->pass_count = 0;
	pthread_mutex_unlock(&replay->lock);
	atomic_thread_fence(memory_order_seq_cst);
}

static void forget_inode(void *context, uint64_t inode)
{
	struct replay *replay = context;
	size_t kept = 0;
	pthread_mutex_lock(&replay->lock);
	for (size_t i = 0; i < replay->pass_count; i++)
		if (replay->passes[i].inode != inode)
			replay->passes[kept++] = replay->passes[i];
	replay->pass_count = kept;
	pthread_mutex_unlock(&replay->lock);
	atomic_thread_fence(memory_order_seq_cst);
}

static void forget_thread(void *context, uint64_t task)
{
	struct replay *replay = context;
	size_t kept = 0;
	pthread_mutex_lock(&replay->lock);
	for (size_t i = 0; i < replay->pass_count; i++)
		if (replay->passes[i].task != task)
			replay->passes[kept++] = replay->passes[i];
	replay->pass_count = kept;
	pthread_mutex_unlock(&replay->lock);
	atomic_thread_fence(memory_order_seq_cst);
}

static bool is_alone(const struct replay *replay, const struct guest_task *task)
{
	uint64_t count = 0;
	return guest_read_field(replay->kernel, task->files, FIELD_files_count, &count) == GUEST_OK && count == 1;
}

static bool is_let(const struct replay *replay, enum trace_pass_of of, const struct guest_task *task, const struct guest_file *file,
		   uint32_t kind)
{
	struct guest_dentry dentry = { 0 };
	uint64_t inode = file ? file->inode : 0, inode_number = file ? file->inode_number : 0;
	uint32_t generation = file ? file->generation : 0;
	if (of == PASS_OF_FILE_SYSTEM) {
		inode_number = generation = 0;
		if (guest_read_field(replay->kernel, file->superblock, FIELD_super_block_s_magic, &inode) != GUEST_OK)
			return false;
	}
	if (of == PASS_OF_NAME && guest_dentry_read(replay->kernel, file->dentry, &dentry) != GUEST_OK)
		return false;
	for (size_t i = 0; i < replay->pass_count; i++) {
		const struct trace_pass *pass = &replay->passes[i];
		bool by_thread = of == PASS_OF_CALL || of == PASS_OF_THREAD, by_inode = of != PASS_OF_THREAD;
		if (pass->of == of && (pass->kinds & 1u << kind) &&
		    (!by_thread || (pass->task == task->address && pass->start_time == task->start_time)) &&
		    (!by_inode || (pass->inode_number == inode_number && pass->generation == generation)) &&
		    (of == PASS_OF_NAME ? pass->dentry == file->dentry && pass->mount == file->mount && pass->parent == dentry.parent &&
						  pass->name_hash == dentry.name_hash && pass->name_length == dentry.name_length
					: !by_inode || pass->inode == inode))
			return true;
	}
	return false;
}

// By two of them, one of the thread's and that of another kind.
static bool are_let(const struct replay *replay, enum trace_pass_of other, const struct guest_task *task, const struct guest_file *file,
		    uint32_t kind)
{
	return is_let(replay, PASS_OF_THREAD, task, NULL, kind) && is_let(replay, other, task, file, kind);
}

static bool opening_passes(struct replay *replay, const struct guest_task *task, uint64_t address)
{
	struct guest_file file;
	if (!replay_passes || guest_file_read(replay->kernel, address, &file) != GUEST_OK)
		return false;
	pthread_mutex_lock(&replay->lock);
	bool can_be_used = is_alone(replay, task) || is_let(replay, PASS_OF_INODE, task, &file, (uint32_t)trace_pass_kind(SYS_read));
	bool found = S_ISDIR(file.mode) || (can_be_used && are_let(replay, PASS_OF_NAME, task, &file, TRACE_OPENING_KIND)) ||
		     are_let(replay, PASS_OF_FILE_SYSTEM, task, &file, TRACE_OPENING_KIND);
	replay->opening_passed_count += found;
	pthread_mutex_unlock(&replay->lock);
	return found;
}

static bool passes(struct replay *replay, const struct guest_task *task, const uint64_t registers[PT_SIZE])
{
	uint32_t number = (uint32_t)registers[PT_ORIG_AX];
	uint64_t address, fd = registers[number == SYS_mmap ? PT_R8 : PT_DI];
	struct guest_file file;
	bool found = false;
	int kind = trace_pass_kind(number);
	if (number == SYS_mmap && (registers[PT_R10] & (MAP_SHARED | MAP_ANONYMOUS)))
		return replay_passes && !(registers[PT_R10] & MAP_SHARED);
	if (kind < 0 || ((number == SYS_mmap || trace_passes_by_thread(number)) && !is_alone(replay, task)))
		return false;
	if (trace_passes_by_thread(number)) {
		pthread_mutex_lock(&replay->lock);
		found = is_let(replay, PASS_OF_THREAD, task, NULL, (uint32_t)kind);
		replay->passed_count += found;
		pthread_mutex_unlock(&replay->lock);
		return found;
	}
	if (guest_file_from_descriptor(replay->kernel, task, (int64_t)fd, &address) != GUEST_OK ||
	    guest_file_read(replay->kernel, address, &file) != GUEST_OK)
		return false;
	pthread_mutex_lock(&replay->lock);
	found = is_let(replay, PASS_OF_CALL, task, &file, (uint32_t)kind) ||
		are_let(replay, PASS_OF_INODE, task, &file, (uint32_t)kind) ||
		are_let(replay, PASS_OF_FILE_SYSTEM, task, &file, (uint32_t)kind);
	replay->passed_count += found;
	pthread_mutex_unlock(&replay->lock);
	return found;
}

uint64_t replay_slot(struct replay *replay, const struct guest_task *task)
{
	return replay->kernel->direct_map + stack_of(replay, task->address)->page + STACK_SLOT;
}

bool replay_init(struct replay *replay, struct recording *recording,
		 const struct guest_kernel *kernel, const struct trace_glob *globs, size_t count)
{
	struct trace_config config = { .globs = globs,
				       .glob_count = count,
				       .emit = take_message,
				       .context = replay,
				       .returns = { watch, original } };
	if (replay_passes)
		config.filter = (struct trace_filter){ allow, forget, forget_inode, forget_thread };
	memset(replay, 0, sizeof(*replay));
	pthread_mutex_init(&replay->lock, NULL);
	replay->recording = recording;
	replay->kernel = kernel;
	replay->functions = replay_functions;
	replay->trace = trace_create(&config, NULL);
	replay->cpus = calloc(REPLAY_CPUS, sizeof(*replay->cpus));
	if (!replay->trace || !replay->cpus)
		return false;
	for (int cpu = 0; cpu < REPLAY_CPUS; cpu++)
		place_cpu(replay, cpu);
	trace_boot(replay->trace, kernel);
	return true;
}

void replay_deinit(struct replay *replay)
{
	for (size_t i = 0; i < replay->stack_count; i++)
		if (replay->stacks[i].field)
			memcpy(replay->recording->ram + replay->stacks[i].field, &replay->stacks[i].before, sizeof(uint64_t));
	trace_destroy(replay->trace);
	free(replay->cpus);
}

static void show(struct replay *replay, int cpu, const struct guest_task *task,
		 const uint64_t *registers)
{
	unsigned char *ram = replay->recording->ram;
	memcpy(ram + replay->slots[cpu].current, &task->address, sizeof(uint64_t));
	memcpy(ram + replay->slots[cpu].registers_gpa, registers, PT_SIZE * sizeof(uint64_t));
}

static void enter_function(struct replay *replay, int cpu, const struct guest_task *task,
			   const uint64_t registers[PT_SIZE])
{
	struct replay_stack *stack = stack_of(replay, task->address);
	uint64_t page = replay->kernel->direct_map + stack->page;
	unsigned char *ram = replay->recording->ram;
	memcpy(ram + replay->slots[cpu].current, &task->address, sizeof(uint64_t));
	memcpy(ram + stack->page + STACK_PT_REGS, registers, PT_SIZE * sizeof(uint64_t));
	atomic_store(slot_of(replay, stack), replay->kernel->text);
	replay->cpus[cpu].registers = (struct guest_cpu_registers){
		.rdi = page + STACK_PT_REGS, .rsp = replay->stands_elsewhere ? 0 : page + STACK_SLOT };
	replay->cpus[cpu].registers_changed = false;
	stack->inner = trace_inner_of((uint32_t)registers[PT_ORIG_AX], false);
	if (stack->inner == TRACE_INNER_DUPLICATE && registers[PT_SI] == F_DUPFD)
		trace_inner_entry(replay->trace, &replay->cpus[cpu], page + STACK_SLOT, stack->inner);
	if (stack->inner || passes(replay, task, registers))
		return;
	trace_function_entry(replay->trace, &replay->cpus[cpu], page + STACK_PT_REGS, page + STACK_SLOT,
			     atomic_load(slot_of(replay, stack)) != replay->kernel->text);
}

void replay_wake(struct replay *replay, int cpu, const struct guest_task *parent, const struct guest_task *child)
{
	struct replay_stack *stack = stack_of(replay, parent->address);
	if (!replay->functions || stack->inner != TRACE_INNER_WAKE)
		return;
	memcpy(replay->recording->ram + replay->slots[cpu].current, &parent->address, sizeof(uint64_t));
	stack_of(replay, child->address); // it has one from the beginning
	trace_task_woken(replay->trace, &replay->cpus[cpu], replay->kernel->direct_map + stack->page + STACK_SLOT, child->address);
	stack->inner = TRACE_INNER_NONE; // once is enough
}

void replay_made(struct replay *replay, const struct guest_task *child, int number)
{
	const uint64_t registers[PT_SIZE] = { [PT_ORIG_AX] = (uint64_t)number, [PT_IP] = 0x401000, [PT_CS] = 0x33 };
	struct replay_stack *stack = stack_of(replay, child->address);
	memcpy(replay->recording->ram + stack->page + STACK_PT_REGS, registers, sizeof(registers));
}

void replay_install(struct replay *replay, int cpu, const struct guest_task *task, int32_t number, uint64_t file)
{
	struct replay_stack *stack = stack_of(replay, task->address);
	memcpy(replay->recording->ram + replay->slots[cpu].current, &task->address, sizeof(uint64_t));
	trace_file_installed(replay->trace, &replay->cpus[cpu], replay->kernel->direct_map + stack->page + STACK_SLOT, number, file);
	stack->inner = TRACE_INNER_NONE; // once is enough
}

void replay_close(struct replay *replay, int cpu, const struct guest_task *task, int call, uint64_t first, uint64_t second,
		  uint64_t file)
{
	struct replay_stack *stack = stack_of(replay, task->address);
	const uint64_t registers[PT_SIZE] = { [PT_DI] = first, [PT_SI] = second, [PT_ORIG_AX] = (uint64_t)call, [PT_IP] = 0x401000, [PT_CS] = call < 0 ? 0x10 : 0x33 };
	memcpy(replay->recording->ram + replay->slots[cpu].current, &task->address, sizeof(uint64_t));
	memcpy(replay->recording->ram + stack->page + STACK_PT_REGS, registers, sizeof(registers));
	trace_file_closed(replay->trace, &replay->cpus[cpu], replay->kernel->direct_map + stack->page + STACK_SLOT, file, task->files);
}

static void leave_function(struct replay *replay, int cpu, const struct guest_task *task, int64_t result)
{
	struct replay_stack *stack = stack_of(replay, task->address);
	uint64_t file;
	memcpy(replay->recording->ram + replay->slots[cpu].current, &task->address, sizeof(uint64_t));
	if (stack->inner == TRACE_INNER_READ_LINK && result > 0)
		trace_inner_entry(replay->trace, &replay->cpus[cpu],
				  replay->kernel->direct_map + stack->page + STACK_SLOT, stack->inner);
	if (stack->inner == TRACE_INNER_INSTALL && result >= 0 &&
	    guest_file_from_descriptor(replay->kernel, task, result, &file) == GUEST_OK && !opening_passes(replay, task, file))
		trace_file_installed(replay->trace, &replay->cpus[cpu], replay->kernel->direct_map + stack->page + STACK_SLOT,
				     (int32_t)result, file);
	if (stack->inner == TRACE_INNER_WAKE && result > 0 && guest_find_process(replay->kernel, (uint32_t)result, &file) == GUEST_OK)
		replay_wake(replay, cpu, task, &(struct guest_task){ .address = file });
	if (atomic_load(slot_of(replay, stack)) == replay->kernel->text + LANDING)
		trace_function_return(replay->trace, &replay->cpus[cpu],
				      replay->kernel->direct_map + stack->page + STACK_SLOT, result);
}

void replay_enter(struct replay *replay, int cpu, const struct guest_task *task, int number,
		  const uint64_t arguments[6])
{
	uint64_t registers[PT_SIZE] = { [PT_DI] = arguments[0],
					[PT_SI] = arguments[1],
					[PT_DX] = arguments[2],
					[PT_R10] = arguments[3],
					[PT_R8] = arguments[4],
					[PT_R9] = arguments[5],
					[PT_ORIG_AX] = (uint64_t)number,
					[PT_AX] = (uint64_t)-38,
					[PT_IP] = 0x401000,
					[PT_CS] = 0x33 };
	if (replay->functions) {
		uint64_t other[PT_SIZE] = { [PT_DI] = 9999, [PT_AX] = (uint64_t)-38, [PT_IP] = 0x401000, [PT_CS] = 0x33 };
		if (replay_passes && trace_pass_kind((uint32_t)number) >= 0 && !replay->stands_elsewhere && !replay->once) {
			enter_function(replay, cpu, task, registers);
			if (!replay_was_refused(replay, cpu, REPLAY_CALL))
				leave_function(replay, cpu, task, -EAGAIN);
			// One that is seen: then the one before is known to be over.
			other[PT_ORIG_AX] = number == SYS_read ? SYS_pread64 : SYS_read;
			enter_function(replay, cpu, task, other);
			leave_function(replay, cpu, task, -EBADF);
		}
		enter_function(replay, cpu, task, registers);
		return;
	}
	show(replay, cpu, task, registers);
	replay->cpus[cpu].registers = (struct guest_cpu_registers){
		.rdi = replay->stands_elsewhere ? 0 : replay->slots[cpu].registers, .rsi = (uint64_t)number };
	replay->cpus[cpu].registers_changed = false;
	trace_syscall_entry(replay->trace, &replay->cpus[cpu],
			    replay->slots[cpu].registers);
}

void replay_leave(struct replay *replay, int cpu, const struct guest_task *task, int number,
		  int64_t result)
{
	uint64_t registers[PT_SIZE] = { [PT_ORIG_AX] = (uint64_t)number,
					[PT_AX] = (uint64_t)result,
					[PT_IP] = 0x401000,
					[PT_CS] = 0x33 };
	if (replay->functions) {
		leave_function(replay, cpu, task, result);
		return;
	}
	show(replay, cpu, task, registers);
	trace_syscall_exit(replay->trace, &replay->cpus[cpu],
			    replay->slots[cpu].registers);
}

// The vCPU stands at the first instruction of a function of the kernel: its way back lies on the stack.
enum { STACK = 4088 };

static void begin_function(struct replay *replay, int cpu, uint64_t argument)
{
	uint64_t page = replay->slots[cpu].registers_gpa;
	memcpy(replay->recording->ram + page + STACK, &replay->kernel->text, sizeof(uint64_t));
	replay->cpus[cpu].registers = (struct guest_cpu_registers){ .rdi = argument,
								    .rsp = replay->kernel->direct_map + page + STACK };
	replay->cpus[cpu].registers_changed = false;
}

bool replay_was_refused(const struct replay *replay, int cpu, enum replay_site site)
{
	const struct guest_cpu_registers *registers = &replay->cpus[cpu].registers;
	uint64_t page = replay->slots[cpu].registers_gpa;
	bool by_return = registers->rip == replay->kernel->text &&
			 registers->rsp == replay->kernel->direct_map + page + STACK + sizeof(uint64_t) &&
			 (int64_t)registers->rax == -EACCES;
	if (replay->functions && site == REPLAY_CALL)
		return replay->cpus[cpu].registers_changed && registers->rip == replay->kernel->text &&
		       (int64_t)registers->rax == -EACCES;
	int64_t shown[PT_SIZE];
	memcpy(shown, replay->recording->ram + page, sizeof(shown));
	bool by_number = shown[PT_ORIG_AX] == -1 && shown[PT_AX] == -EACCES;
	if (!replay->cpus[cpu].registers_changed)
		return false;
	if (site == REPLAY_CALL)
		return by_number && (int64_t)registers->rsi == -1;
	return site == REPLAY_COMPAT && replay->kernel->sites.entry_in_rdi ? by_number : by_return;
}

void replay_enter_compat(struct replay *replay, int cpu, const struct guest_task *task, int number,
			 const uint32_t arguments[6])
{
	// As user space leaves them: what is above 32 bits means nothing.
	const uint64_t above = 0xdead00000000;
	uint64_t registers[PT_SIZE] = { [PT_BX] = above | arguments[0],
					[PT_CX] = above | arguments[1],
					[PT_DX] = above | arguments[2],
					[PT_SI] = above | arguments[3],
					[PT_DI] = above | arguments[4],
					[PT_BP] = above | arguments[5],
					[PT_ORIG_AX] = (uint64_t)number,
					[PT_AX] = (uint64_t)-38,
					[PT_IP] = 0x8049000,
					[PT_CS] = 0x23 };
	show(replay, cpu, task, registers);
	begin_function(replay, cpu, replay->slots[cpu].registers);
	trace_compat_entry(replay->trace, &replay->cpus[cpu], replay->slots[cpu].registers);
}

// In the page where the registers are shown: the request, then what it refers to.
enum { REQUEST = 2560, RING_CONTEXT = 1024, RING_TASK = 3584 };

static void put(struct replay *replay, uint64_t gpa, enum profile_field_id field, uint64_t value)
{
	const struct profile_field *place = &replay->kernel->profile->fields[field];
	if (place->present)
		memcpy(replay->recording->ram + gpa + place->offset, &value, place->size);
}

void replay_request(struct replay *replay, int cpu, const struct guest_task *task, int opcode,
		    uint64_t file)
{
	uint64_t page = replay->slots[cpu].registers_gpa, map = replay->kernel->direct_map;
	static const uint64_t nothing[PT_SIZE];
	memset(replay->recording->ram + page, 0, 4096);
	show(replay, cpu, task, nothing);
	put(replay, page + REQUEST, FIELD_io_kiocb_file, file);
	put(replay, page + REQUEST, FIELD_io_kiocb_opcode, (uint64_t)opcode);
	put(replay, page + REQUEST, FIELD_io_kiocb_ctx, map + page + RING_CONTEXT);
	put(replay, page + REQUEST, FIELD_io_kiocb_task, task->address);
	put(replay, page + REQUEST, FIELD_io_kiocb_tctx, map + page + RING_TASK);
	put(replay, page + RING_TASK, FIELD_io_uring_task_task, task->address);
	begin_function(replay, cpu, map + page + REQUEST);
	trace_ring_request(replay->trace, &replay->cpus[cpu], map + page + REQUEST, 0);
}

void replay_poke(struct replay *replay, uint64_t address, const void *bytes, size_t length)
{
	uint64_t gpa;
	if (guest_translate(&replay->kernel->space, address, &gpa) == GUEST_OK)
		memcpy(replay->recording->ram + gpa, bytes, length);
}

static struct { uint64_t address, value; } changes[REPLAY_CHANGES]; // what was there
size_t replay_change_count;

void replay_change(struct replay *replay, uint64_t address, uint64_t value)
{
	if (replay_change_count == REPLAY_CHANGES ||
	    guest_read_kernel(replay->kernel, address, &changes[replay_change_count].value, sizeof(value)) != GUEST_OK)
		abort();
	changes[replay_change_count++].address = address;
	replay_poke(replay, address, &value, sizeof(value));
}

void replay_take_back(struct replay *replay)
{
	while (replay_change_count > 0) {
		replay_change_count--;
		replay_poke(replay, changes[replay_change_count].address, &changes[replay_change_count].value,
			    sizeof(uint64_t));
	}
}

void replay_unshare(struct replay *replay, const struct guest_mapping *mapping, uint64_t inode)
{
	const struct guest_kernel *kernel = replay->kernel;
	uint64_t space;
	if (guest_read_field(kernel, inode, FIELD_inode_i_mapping, &space) != GUEST_OK)
		abort();
	replay_change(replay, mapping->address + guest_offset(kernel, FIELD_vma_flags), mapping->flags & ~(uint64_t)GUEST_VM_SHARED);
	replay_change(replay, space + guest_offset(kernel, FIELD_mapping_i_mmap), 0);
}

const char *replay_story(const struct replay *replay)
{
	static char story[16384];
	size_t used = 0;
	story[0] = '\0';
	for (size_t i = 0; i < replay->edge_count && used < sizeof(story); i++)
		used += (size_t)snprintf(story + used, sizeof(story) - used, "%s%s -%s-> %s",
					 i ? "; " : "", replay->edges[i].from,
					 replay->edges[i].cause, replay->edges[i].to);
	return story;
}
