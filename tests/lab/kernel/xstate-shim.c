/* User-mode Linux 6.12 keeps 2,696 bytes of a process's FPU state, the size with AVX-512 and PKRU. A CPU with AMX has
 * an XSAVE area of 11,008 bytes, and the host then answers PTRACE_SETREGSET(NT_X86_XSTATE) with EFAULT unless it is
 * given all of them (xstateregs_set() in arch/x86/kernel/fpu/regset.c): the kernel panics at its first process.
 *
 * Preloaded, this completes what is too short with the part that the host itself reported for a fresh process. AMX
 * state needs a permission that nothing in the test kernel asks for, so that part never changes. Elsewhere it does
 * nothing. One thread calls it: user-mode Linux switches processes from its only one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NT_X86_XSTATE 0x202

static char whole[64 * 1024];
static size_t whole_length;

long ptrace(enum __ptrace_request request, ...)
{
	static long (*next)(enum __ptrace_request, pid_t, void *, void *);
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);

	if (!next)
		next = dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || (unsigned long)address != NT_X86_XSTATE)
		return next(request, pid, address, data);

	struct iovec *given = data;
	if (!whole_length) {
		struct iovec all = { whole, sizeof(whole) };
		if (next(PTRACE_GETREGSET, pid, address, &all) < 0)
			return -1;
		whole_length = all.iov_len;
	}
	if (given->iov_len >= whole_length)
		return next(request, pid, address, data);
	memcpy(whole, given->iov_base, given->iov_len);
	struct iovec all = { whole, whole_length };
	return next(request, pid, address, &all);
}
