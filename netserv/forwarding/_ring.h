/* The memory that a container and the packet broker share, as ring.py describes it: for both ends in C.
 *
 * It is a container's to scribble on at any time, so each value is read once, into a local, before it is checked.
 */
#ifndef NETSERV_RING_H
#define NETSERV_RING_H

#include <Python.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ACCEPT = 1, DROP, CHANGED, ACCEPT_FLOW, INJECT, COUNT_FLOW };
enum { HEADER_BYTES = 4096, DESCRIPTOR_BYTES = 16, MAGIC = 0x4E535231 };
enum { PACKETS_HEAD = 16, ANSWERS_HEAD = 32, ANSWERS_TAIL = 48, BOX_SLEEPS = 64, BROKER_SLEEPS = 80,
       LATE_HEAD = 96 };
enum { SLOTS_MAX = 16384, SLOT_BYTES_MAX = 65536 };
#define COUNTS 0x80000000u /* beside the number of a filter: not a packet, but what the kernel has counted of flows */

struct layout {
    uint32_t slots, slot_bytes, injected, answers;
    size_t packets_at, answers_at, slots_at, size;
};

static inline void lay_out(struct layout *to, uint32_t slots, uint32_t slot_bytes, uint32_t injected) {
    to->slots = slots, to->slot_bytes = slot_bytes, to->injected = injected;
    to->answers = 2 * (slots > injected ? slots : injected);
    to->packets_at = HEADER_BYTES;
    to->answers_at = to->packets_at + (size_t)slots * DESCRIPTOR_BYTES;
    size_t end = to->answers_at + (size_t)to->answers * DESCRIPTOR_BYTES;
    to->slots_at = (end + 4095) & ~(size_t)4095;
    to->size = to->slots_at + ((size_t)slots + injected) * slot_bytes;
}

static inline uint8_t *map_ring(int fd, struct layout *layout) {
    uint32_t settings[5];
    struct stat stat;
    if (pread(fd, settings, sizeof settings, 0) != sizeof settings || fstat(fd, &stat))
        return NULL;
    uint32_t slots = settings[1], slot_bytes = settings[2], injected = settings[3];
    if (settings[0] != MAGIC || !slots || slots > SLOTS_MAX || slots & (slots - 1) || !injected || injected > SLOTS_MAX ||
        injected & (injected - 1) || slot_bytes < 256 || slot_bytes > SLOT_BYTES_MAX || slot_bytes % 64)
        return NULL;
    lay_out(layout, slots, slot_bytes, injected);
    if (settings[4] != layout->answers || (size_t)stat.st_size != layout->size)
        return NULL;
    uint8_t *memory = mmap(NULL, layout->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static inline _Atomic uint32_t *word(uint8_t *memory, unsigned number) {
    return (_Atomic uint32_t *)(void *)(memory + number * 4);
}

static inline uint32_t get(uint8_t *memory, unsigned number) {
    return atomic_load_explicit(word(memory, number), memory_order_acquire);
}

static inline void set(uint8_t *memory, unsigned number, uint32_t value) {
    atomic_store_explicit(word(memory, number), value, memory_order_release);
}

static inline PyObject *no_ring(void) {
    PyObject *errors = PyImport_ImportModule("netserv.errors");
    PyObject *kind = errors ? PyObject_GetAttrString(errors, "RemoteProtocolError") : NULL;
    if (kind)
        PyErr_SetString(kind, "this is no packet ring of this version");
    Py_XDECREF(kind);
    Py_XDECREF(errors);
    return NULL;
}

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
