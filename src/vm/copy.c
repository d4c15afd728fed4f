/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/copy.h"

#include <pthread.h>
#include <string.h>
#include <ucontext.h>

// size_t copy_guarded_bytes(void *destination, const void *source, size_t length): the number of
// bytes that are left, 0 when all were copied. On a fault the handler below sets RIP to the end;
// `rep movsb` keeps the rest in RCX.
__asm__(".text\n"
	".type copy_guarded_bytes, @function\n"
	"copy_guarded_bytes:\n"
	"	movq	%rdx, %rcx\n"
	"copy_guarded_begin:\n"
	"	rep movsb\n"
	"copy_guarded_end:\n"
	"	movq	%rcx, %rax\n"
	"	ret\n"
	".size copy_guarded_bytes, . - copy_guarded_bytes\n"
	// bool copy_guarded_word(uint64_t *destination, const void *source): one 8-byte load,
	// the common case by far.
	".type copy_guarded_word, @function\n"
	"copy_guarded_word:\n"
	"copy_word_begin:\n"
	"	movq	(%rsi), %rax\n"
	"copy_word_end:\n"
	"	movq	%rax, (%rdi)\n"
	"	movl	$1, %eax\n"
	"	ret\n"
	"copy_word_fault:\n"
	"	xorl	%eax, %eax\n"
	"	ret\n"
	".size copy_guarded_word, . - copy_guarded_word\n"
	// int copy_exchange_word(uint64_t *word, uint64_t expected, uint64_t wanted): 1 exchanged, 0 it was
	// another, -1 not there.
	".type copy_exchange_word, @function\n"
	"copy_exchange_word:\n"
	"	movq	%rsi, %rax\n"
	"copy_exchange_begin:\n"
	"	lock cmpxchgq	%rdx, (%rdi)\n"
	"copy_exchange_end:\n"
	"	sete	%al\n"
	"	movzbl	%al, %eax\n"
	"	ret\n"
	"copy_exchange_fault:\n"
	"	movl	$-1, %eax\n"
	"	ret\n"
	".size copy_exchange_word, . - copy_exchange_word\n");

size_t copy_guarded_bytes(void *destination, const void *source, size_t length)
	__attribute__((visibility("hidden")));
bool copy_guarded_word(uint64_t *destination, const void *source)
	__attribute__((visibility("hidden")));
int copy_exchange_word(uint64_t *word, uint64_t expected, uint64_t wanted)
	__attribute__((visibility("hidden")));
extern const char copy_guarded_begin[] __attribute__((visibility("hidden")));
extern const char copy_guarded_end[] __attribute__((visibility("hidden")));
extern const char copy_word_begin[] __attribute__((visibility("hidden")));
extern const char copy_word_end[] __attribute__((visibility("hidden")));
extern const char copy_word_fault[] __attribute__((visibility("hidden")));
extern const char copy_exchange_begin[] __attribute__((visibility("hidden")));
extern const char copy_exchange_end[] __attribute__((visibility("hidden")));
extern const char copy_exchange_fault[] __attribute__((visibility("hidden")));

static const int guarded_signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
enum { GUARDED_SIGNALS = sizeof(guarded_signals) / sizeof(guarded_signals[0]) };

// What stood before us; written only under the lock, read by the handler.
static struct sigaction previous_action[GUARDED_SIGNALS];
_Thread_local struct fault_recovery *fault_recovery;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

bool copy_guarded(void *destination, const void *source, size_t length)
{
	if (length == sizeof(uint64_t))
		return copy_guarded_word(destination, source);
	return copy_guarded_bytes(destination, source, length) == 0;
}

bool copy_to_guarded(void *destination, const void *source, size_t length)
{
	return copy_guarded_bytes(destination, source, length) == 0;
}

bool copy_exchange_guarded(uint64_t *word, uint64_t expected, uint64_t wanted, bool *exchanged)
{
	int result = copy_exchange_word(word, expected, wanted);
	*exchanged = result > 0;
	return result >= 0;
}

static void hand_on(int signal, siginfo_t *info, void *context, const struct sigaction *previous)
{
	if (previous->sa_flags & SA_SIGINFO) {
		previous->sa_sigaction(signal, info, context);
		return;
	}
	if (previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN) {
		previous->sa_handler(signal);
		return;
	}
	// The default action: put it back. A fault repeats by itself when we return; a signal that
	// was sent (kill, sigqueue) has to be sent again.
	struct sigaction standard = { .sa_handler = SIG_DFL };
	sigaction(signal, &standard, NULL);
	if (info->si_code <= 0)
		raise(signal);
}

static void handle_fault(int signal, siginfo_t *info, void *context)
{
	ucontext_t *machine = context;
	uintptr_t address = (uintptr_t)machine->uc_mcontext.gregs[REG_RIP];

	if (address >= (uintptr_t)copy_guarded_begin && address < (uintptr_t)copy_guarded_end) {
		machine->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)copy_guarded_end;
		return;
	}
	if (address >= (uintptr_t)copy_word_begin && address < (uintptr_t)copy_word_end) {
		machine->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)copy_word_fault;
		return;
	}
	if (address >= (uintptr_t)copy_exchange_begin && address < (uintptr_t)copy_exchange_end) {
		machine->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)copy_exchange_fault;
		return;
	}
	if (fault_recovery && info->si_code > 0) {
		struct fault_recovery *recovery = fault_recovery;
		fault_recovery = NULL;
		recovery->signal = signal;
		recovery->address = address;
#ifdef __SANITIZE_THREAD__
		copy_guard_unblock_thread(); // its own handler, which calls this one, has blocked all signals: the thread's next fault would kill
#endif
		siglongjmp(recovery->environment, 1);
	}
	for (int i = 0; i < GUARDED_SIGNALS; i++) {
		if (guarded_signals[i] == signal) {
			hand_on(signal, info, context, &previous_action[i]);
			return;
		}
	}
}

bool copy_guard_install(struct error *error)
{
	bool done = true;
	pthread_mutex_lock(&install_lock);
	for (int i = 0; i < GUARDED_SIGNALS && done; i++) {
		struct sigaction current;
		if (sigaction(guarded_signals[i], NULL, &current) != 0) {
			done = error_set_errno(error, "cannot read the handler of signal %d",
					       guarded_signals[i]);
			break;
		}
		if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == handle_fault)
			continue;
		previous_action[i] = current;
		// The signal stays unblocked, since a recovery does not return from the handler.
		struct sigaction ours = {
			.sa_sigaction = handle_fault,
			.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
		};
		if (sigaction(guarded_signals[i], &ours, NULL) != 0)
			done = error_set_errno(error, "cannot handle signal %d",
					       guarded_signals[i]);
	}
	pthread_mutex_unlock(&install_lock);
	return done;
}

void copy_guard_enter(sigset_t *before)
{
	sigset_t faults;
	sigemptyset(&faults);
	for (int i = 0; i < GUARDED_SIGNALS; i++)
		sigaddset(&faults, guarded_signals[i]);
	pthread_sigmask(SIG_UNBLOCK, &faults, before);
}

void copy_guard_unblock_thread(void)
{
	copy_guard_enter(NULL);
}

void copy_guard_leave(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}
