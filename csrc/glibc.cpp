// Lets the library load with glibc 2.28, as torch does, when it is built with a newer one. `make wheel` checks this.

#ifdef __linux__
#include <features.h>
#endif

#if defined(__GLIBC__) && defined(__x86_64__)

// Hides the function of this name that is defined below from other libraries, and lets it call the version that all
// releases of glibc have. 2.29 added versions of exp2 and log2 that do not set errno, and 2.34 moved dlsym into another
// file. GCC ignores visibility attributes of mathematical functions.
#define SEAMSEG_OLD(name) __asm__(".symver old_" #name ", " #name "@GLIBC_2.2.5\n.hidden " #name)

extern "C" {

// Since 2.32, shared pointers of libstdc++ read this variable and count without atomic instructions while there is only
// one thread. Within this library, it is always false.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

SEAMSEG_OLD(exp2);
double old_exp2(double x);
double exp2(double x) { return old_exp2(x); }

SEAMSEG_OLD(log2);
double old_log2(double x);
double log2(double x) { return old_log2(x); }

SEAMSEG_OLD(dlsym);
void* old_dlsym(void* library, const char* name);
void* dlsym(void* library, const char* name) { return old_dlsym(library, name); }
}

#endif
