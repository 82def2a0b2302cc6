/* Packets in memory that stays mapped for good, made and used again without Python's help: what the type of _fast.c offers
 * to the container's end of a ring, as its attribute `VIEWS_NAME`.
 */
#ifndef NETSERV_VIEWS_H
#define NETSERV_VIEWS_H

#include <Python.h>
#include <stdint.h>

#define VIEWS_NAME "_views"

struct views {
    /* A packet of a type derived from that of _fast.c, whose `__init__` is not called. */
    PyObject *(*make)(PyTypeObject *type, uint8_t *at, size_t size);
    /* Have a packet that nobody else holds be another one. */
    void (*move)(PyObject *packet, uint8_t *at, size_t size);
};

#endif
