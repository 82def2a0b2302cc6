/* The container's end of a ring, and what it does with its packets: ring.py, and the part of container/runtime/dispatcher.py
 * that is in the way of each packet.
 *
 * Optional: without a compiler the Python forms serve, and tests compare both. One thread, which has the GIL but while it
 * waits.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>

#include "../modules/_views.h"
#include "_ring.h"

enum { BATCH_MAX = 128, ROUNDS_MAX = 16, READY_MAX = 8, PACKET_MIN = 20, FAILED = 0 };

typedef struct {
    PyObject_HEAD
    uint8_t *memory; /* mapped for good: views into it outlive this object */
    struct layout layout;
    int wake_fd, broker_fd;
    uint32_t taken, answered, published;
    uint32_t *sequences;
    uint32_t injected_first, injected_count; /* slots of injected packets are used in turn */
    uint32_t *injected_at;
    PyObject *spare[BATCH_MAX]; /* packets that modules have left, to be used again */
    uint32_t spares;
} BoxEnd;

static int box_init(BoxEnd *self, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"memory_fd", "wake_fd", "broker_fd", NULL};
    int memory;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "iii", names, &memory, &self->wake_fd, &self->broker_fd))
        return -1;
    self->memory = map_ring(memory, &self->layout);
    if (!self->memory) {
        no_ring();
        return -1;
    }
    self->sequences = calloc(self->layout.slots, sizeof *self->sequences);
    self->injected_at = calloc(self->layout.injected, sizeof *self->injected_at);
    if (!self->sequences || !self->injected_at) {
        PyErr_NoMemory();
        return -1;
    }
    self->taken = 0; /* packets that were there before this end are its own as well */
    self->answered = self->published = get(self->memory, ANSWERS_HEAD);
    return 0;
}

static void box_dealloc(BoxEnd *self) {
    while (self->spares)
        Py_DECREF(self->spare[--self->spares]);
    free(self->sequences);
    free(self->injected_at);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *box_fileno(BoxEnd *self, PyObject *nothing) {
    (void)nothing;
    return PyLong_FromLong(self->wake_fd);
}

static uint8_t *box_slot(BoxEnd *self, uint32_t slot) {
    return self->memory + self->layout.slots_at + (size_t)slot * self->layout.slot_bytes;
}

static void box_put(BoxEnd *self, uint32_t slot, uint32_t verdict, uint32_t length, uint32_t last) {
    uint32_t descriptor[4] = {slot, verdict, length, last};
    memcpy(self->memory + self->layout.answers_at +
           (size_t)(self->answered++ & (self->layout.answers - 1)) * DESCRIPTOR_BYTES, descriptor, sizeof descriptor);
}

static void box_publish(BoxEnd *self) {
    if (self->answered == self->published)
        return;
    set(self->memory, ANSWERS_HEAD, self->published = self->answered);
    atomic_thread_fence(memory_order_seq_cst);
    if (get(self->memory, BROKER_SLEEPS))
        (void)!write(self->broker_fd, "\1", 1); /* full of wake-ups not read yet: the broker looks by itself */
}

static void box_next(BoxEnd *self, uint32_t descriptor[4]) {
    memcpy(descriptor, self->memory + self->layout.packets_at +
           (size_t)(self->taken++ & (self->layout.slots - 1)) * DESCRIPTOR_BYTES, 4 * sizeof *descriptor);
}

/* Give back the slots of packets that are decided already. */
static void box_pass_late(BoxEnd *self) {
    uint32_t late = get(self->memory, LATE_HEAD) - self->taken, descriptor[4];
    if (!late || late > self->layout.slots || late > get(self->memory, PACKETS_HEAD) - self->taken)
        return; /* it is behind what was taken */
    while (late--) {
        box_next(self, descriptor);
        if (descriptor[2] & COUNTS) { /* never late */
            self->taken--;
            break;
        }
        box_put(self, descriptor[0], ACCEPT, 0, descriptor[3]);
    }
    box_publish(self);
}

struct taken {
    uint32_t slot, size, filter;
};

/* How many packets wait; none: this end sleeps from now on. */
static uint32_t box_waiting(BoxEnd *self) {
    box_pass_late(self);
    uint32_t waiting = get(self->memory, PACKETS_HEAD) - self->taken;
    if (!waiting) {
        char rest[4096];
        set(self->memory, BOX_SLEEPS, 1);
        atomic_thread_fence(memory_order_seq_cst);
        (void)!read(self->wake_fd, rest, sizeof rest); /* before the second look: a wake-up after that is kept */
        waiting = get(self->memory, PACKETS_HEAD) - self->taken;
        if (!waiting)
            return 0;
    }
    set(self->memory, BOX_SLEEPS, 0);
    return waiting;
}

static bool box_one(BoxEnd *self, struct taken *one) {
    uint32_t descriptor[4];
    box_next(self, descriptor);
    *one = (struct taken){descriptor[0], descriptor[1], descriptor[2]};
    if (one->slot >= self->layout.slots || one->size > self->layout.slot_bytes) {
        PyErr_SetString(PyExc_ValueError, "somebody has written into the ring");
        return false;
    }
    self->sequences[one->slot] = descriptor[3];
    return true;
}

static PyObject *box_view(BoxEnd *self, const struct taken *one) {
    return PyMemoryView_FromMemory((char *)box_slot(self, one->slot), one->size, PyBUF_WRITE);
}

static PyObject *box_entry(BoxEnd *self, const struct taken *one) {
    return Py_BuildValue("(IIN)", one->slot, one->filter, box_view(self, one));
}

static PyObject *box_take(BoxEnd *self, PyObject *const *arguments, Py_ssize_t count) {
    long most = 64;
    if (count > 1 || (count == 1 && (most = PyLong_AsLong(arguments[0])) < 0)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "take(most=64)");
        return NULL;
    }
    uint32_t waiting = box_waiting(self);
    if (waiting > (uint32_t)most)
        waiting = (uint32_t)most;
    PyObject *found = PyList_New(waiting);
    for (uint32_t number = 0; found && number < waiting; number++) {
        struct taken one;
        PyObject *entry = box_one(self, &one) ? box_entry(self, &one) : NULL;
        if (entry)
            PyList_SET_ITEM(found, number, entry);
        else
            Py_CLEAR(found);
    }
    return found;
}

static PyObject *box_room(BoxEnd *self, PyObject *argument) {
    unsigned long slot = PyLong_AsUnsignedLong(argument);
    if (slot >= self->layout.slots) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_IndexError, "there is no such slot");
        return NULL;
    }
    return PyMemoryView_FromMemory((char *)box_slot(self, (uint32_t)slot), self->layout.slot_bytes, PyBUF_WRITE);
}

static PyObject *box_answer(BoxEnd *self, PyObject *const *arguments, Py_ssize_t count) {
    if (count < 2 || count > 3) {
        PyErr_SetString(PyExc_TypeError, "answer(slot, verdict, length=0)");
        return NULL;
    }
    unsigned long slot = PyLong_AsUnsignedLong(arguments[0]), verdict = PyLong_AsUnsignedLong(arguments[1]);
    unsigned long length = count == 3 ? PyLong_AsUnsignedLong(arguments[2]) : 0;
    if (PyErr_Occurred())
        return NULL;
    if (slot >= self->layout.slots) {
        PyErr_SetString(PyExc_IndexError, "there is no such slot");
        return NULL;
    }
    box_put(self, (uint32_t)slot, (uint32_t)verdict, (uint32_t)length, self->sequences[slot]);
    Py_RETURN_NONE;
}

static PyObject *box_inject(BoxEnd *self, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"packet", "number", NULL};
    Py_buffer packet;
    unsigned number = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "y*|I", names, &packet, &number))
        return NULL;
    struct layout *layout = &self->layout;
    uint32_t tail = get(self->memory, ANSWERS_TAIL);
    while (self->injected_count && (int32_t)(self->injected_at[self->injected_first] - tail) < 0) {
        self->injected_first = (self->injected_first + 1) & (layout->injected - 1);
        self->injected_count--;
    }
    bool room = self->injected_count < layout->injected && packet.len <= layout->slot_bytes;
    if (room) {
        uint32_t at = (self->injected_first + self->injected_count++) & (layout->injected - 1);
        self->injected_at[at] = self->answered;
        memcpy(box_slot(self, layout->slots + at), packet.buf, (size_t)packet.len);
        box_put(self, layout->slots + at, INJECT, (uint32_t)packet.len, number);
    }
    PyBuffer_Release(&packet);
    return PyBool_FromLong(room);
}

/* ---- what a container does with its packets: the part of container/runtime/dispatcher.py that is in each packet's way ---- */

struct treatment { /* attributes of a dispatcher */
    PyObject *alone, *dispatch, *packet, *verdicts, *other, *checked;
    const struct views *views; /* none: packets are made by calling `packet` */
};

struct handler { /* an entry of `alone` */
    PyObject *process, *process_batch, *strike;
    Py_ssize_t batch_least;
};

static void free_treatment(struct treatment *how) {
    Py_XDECREF(how->alone);
    Py_XDECREF(how->dispatch);
    Py_XDECREF(how->packet);
    Py_XDECREF(how->verdicts);
    Py_XDECREF(how->other);
    Py_XDECREF(how->checked);
}

static bool read_treatment(PyObject *dispatcher, struct treatment *how) {
    memset(how, 0, sizeof *how);
    PyObject *offered = NULL;
    if ((how->alone = PyObject_GetAttrString(dispatcher, "alone")) &&
        (how->dispatch = PyObject_GetAttrString(dispatcher, "dispatch")) &&
        (how->packet = PyObject_GetAttrString(dispatcher, "packet")) &&
        (how->verdicts = PyObject_GetAttrString(dispatcher, "verdicts")) &&
        (how->other = PyObject_GetAttrString(dispatcher, "other")) &&
        (how->checked = PyObject_GetAttrString(dispatcher, "checked")) && PyDict_Check(how->alone) &&
        PyTuple_Check(how->verdicts)) {
        if (PyType_Check(how->packet) && (offered = PyObject_GetAttrString(how->packet, VIEWS_NAME)))
            how->views = PyCapsule_GetPointer(offered, VIEWS_NAME);
        Py_XDECREF(offered); /* the type has it */
        PyErr_Clear();
        return true;
    }
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "attend(poll, seconds, dispatcher)");
    free_treatment(how);
    return false;
}

/* What a module gets; one that was left, where there is one: to make and to free each would take longer than all else. */
static PyObject *packet_of(BoxEnd *self, const struct treatment *how, const struct taken *one) {
    uint8_t *at = box_slot(self, one->slot);
    if (!how->views) {
        PyObject *view = box_view(self, one), *made = view ? PyObject_CallOneArg(how->packet, view) : NULL;
        Py_XDECREF(view);
        return made;
    }
    PyTypeObject *type = (PyTypeObject *)how->packet;
    if (!self->spares || !Py_IS_TYPE(self->spare[self->spares - 1], type))
        return how->views->make(type, at, one->size);
    PyObject *packet = self->spare[--self->spares];
    how->views->move(packet, at, one->size);
    return packet;
}

/* Take a packet back, unless the module keeps it. */
static void take_back(BoxEnd *self, const struct treatment *how, PyObject *packet) {
    if (how->views && packet && Py_REFCNT(packet) == 1 && self->spares < BATCH_MAX)
        self->spare[self->spares++] = packet;
    else
        Py_XDECREF(packet);
}

/* The module has failed, as the exception that is set says. */
static bool strike(BoxEnd *self, PyObject *function, const struct taken *run, uint32_t count) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback)
        PyException_SetTraceback(value, traceback);
    PyObject *done = PyObject_CallOneArg(function, value);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    Py_XDECREF(done);
    for (uint32_t each = 0; each < count; each++)
        box_put(self, run[each].slot, FAILED, 0, self->sequences[run[each].slot]);
    return done;
}

/* What a module has said of a packet; no object: it has failed. */
static bool said_of(BoxEnd *self, const struct treatment *how, PyObject *strike_by, const struct taken *one, PyObject *said) {
    uint32_t last = self->sequences[one->slot];
    for (Py_ssize_t each = 0; said && each < PyTuple_GET_SIZE(how->verdicts); each++)
        if (said == PyTuple_GET_ITEM(how->verdicts, each)) {
            box_put(self, one->slot, (uint32_t)PyLong_AsUnsignedLong(said), 0, last);
            return true;
        }
    const char *bytes = !said ? NULL : PyBytes_CheckExact(said) ? PyBytes_AS_STRING(said)
                        : PyByteArray_CheckExact(said) ? PyByteArray_AS_STRING(said) : NULL;
    size_t size = bytes ? (size_t)Py_SIZE(said) : 0;
    if (size >= PACKET_MIN && size <= self->layout.slot_bytes) {
        memcpy(box_slot(self, one->slot), bytes, size);
        box_put(self, one->slot, CHANGED, (uint32_t)size, last);
        return true;
    }
    PyObject *view = said ? box_view(self, one) : NULL;
    PyObject *done = view ? PyObject_CallFunction(how->other, "OIOO", self, one->slot, view, said) : NULL;
    Py_XDECREF(view);
    Py_XDECREF(done);
    return done || strike(self, strike_by, one, 1);
}

static bool treat_each(BoxEnd *self, const struct treatment *how, const struct handler *handler, const struct taken *run,
                       uint32_t count) {
    bool fine = true;
    for (uint32_t each = 0; fine && each < count; each++) {
        PyObject *packet = packet_of(self, how, run + each);
        PyObject *said = packet ? PyObject_CallOneArg(handler->process, packet) : NULL;
        fine = said_of(self, how, handler->strike, run + each, said);
        Py_XDECREF(said);
        take_back(self, how, packet);
    }
    return fine;
}

/* What `process_batch` has said, one for each packet. */
static PyObject *batch_answers(const struct treatment *how, PyObject *process_batch, PyObject *packets, uint32_t count) {
    PyObject *said = packets ? PyObject_CallOneArg(process_batch, packets) : NULL;
    if (said && !((PyList_CheckExact(said) || PyTuple_CheckExact(said)) && (uint32_t)Py_SIZE(said) == count))
        Py_SETREF(said, PyObject_CallFunction(how->checked, "OI", said, count));
    if (said)
        Py_SETREF(said, PySequence_Tuple(said)); /* nobody changes it meanwhile */
    if (said && (uint32_t)PyTuple_GET_SIZE(said) != count) {
        PyErr_SetString(PyExc_ValueError, "answers change while they are read");
        Py_CLEAR(said);
    }
    return said;
}

static bool treat_batch(BoxEnd *self, const struct treatment *how, const struct handler *handler, const struct taken *run,
                        uint32_t count) {
    PyObject *made[BATCH_MAX], *packets = PyList_New(count);
    uint32_t number = 0;
    for (; packets && number < count; number++) {
        made[number] = packet_of(self, how, run + number);
        if (made[number])
            PyList_SET_ITEM(packets, number, Py_NewRef(made[number]));
        else
            Py_CLEAR(packets);
    }
    PyObject *answers = batch_answers(how, handler->process_batch, packets, count);
    bool fine = answers || strike(self, handler->strike, run, count);
    for (uint32_t each = 0; answers && fine && each < count; each++)
        fine = said_of(self, how, handler->strike, run + each, PyTuple_GET_ITEM(answers, each));
    Py_XDECREF(answers);
    Py_XDECREF(packets);
    while (number)
        take_back(self, how, made[--number]);
    return fine;
}

/* Packets of a filter that one module alone has. */
static bool treat_alone(BoxEnd *self, const struct treatment *how, PyObject *entry, const struct taken *run, uint32_t count) {
    struct handler handler;
    if (!PyArg_ParseTuple(entry, "OOnO", &handler.process, &handler.process_batch, &handler.batch_least, &handler.strike))
        return false;
    bool batch = handler.process == Py_None || (handler.process_batch != Py_None && count >= handler.batch_least);
    return (batch ? treat_batch : treat_each)(self, how, &handler, run, count);
}

static bool treat_others(BoxEnd *self, const struct treatment *how, const struct taken *run, uint32_t count) {
    PyObject *packets = PyList_New(count), *done = NULL;
    for (uint32_t each = 0; packets && each < count; each++) {
        PyObject *entry = box_entry(self, run + each);
        if (entry)
            PyList_SET_ITEM(packets, each, entry);
        else
            Py_CLEAR(packets);
    }
    if (packets)
        done = PyObject_CallFunctionObjArgs(how->dispatch, self, packets, NULL);
    Py_XDECREF(packets);
    Py_XDECREF(done);
    return done;
}

static bool treat(BoxEnd *self, const struct treatment *how, const struct taken *taken, uint32_t count) {
    uint32_t last;
    for (uint32_t first = 0; first < count; first = last) {
        for (last = first + 1; last < count && taken[last].filter == taken[first].filter;)
            last++;
        PyObject *number = PyLong_FromUnsignedLong(taken[first].filter);
        PyObject *entry = number ? PyDict_GetItemWithError(how->alone, number) : NULL;
        Py_XDECREF(number);
        if (PyErr_Occurred())
            return false;
        Py_XINCREF(entry); /* a module may be taken out while it treats packets */
        bool fine = entry ? treat_alone(self, how, entry, taken + first, last - first)
                          : treat_others(self, how, taken + first, last - first);
        Py_XDECREF(entry);
        if (!fine)
            return false;
    }
    return true;
}

/* Treat what waits; whether that was all, since the node is not to wait for long. */
static bool treat_waiting(BoxEnd *self, const struct treatment *how, bool *all) {
    struct taken taken[BATCH_MAX];
    *all = true;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        uint32_t waiting = box_waiting(self);
        if (!waiting)
            return true;
        if (waiting > BATCH_MAX)
            waiting = BATCH_MAX;
        for (uint32_t each = 0; each < waiting; each++)
            if (!box_one(self, taken + each))
                return false;
        if (!treat(self, how, taken, waiting))
            return false;
        box_publish(self);
    }
    return true;
}

static double now_s(void) { return (double)now_ns() / 1e9; }

/* Treat packets until something else is to be done; which descriptors are ready for it. */
static PyObject *box_attend(BoxEnd *self, PyObject *arguments) {
    double seconds;
    PyObject *polled, *dispatcher, *ready;
    struct treatment how;
    if (!PyArg_ParseTuple(arguments, "OdO", &polled, &seconds, &dispatcher))
        return NULL;
    int poll = PyObject_AsFileDescriptor(polled);
    if (poll < 0 || !read_treatment(dispatcher, &how))
        return NULL;
    double end = now_s() + seconds;
    for (ready = PyList_New(0); ready;) {
        struct epoll_event events[READY_MAX];
        bool all, fine = treat_waiting(self, &how, &all);
        double left = seconds < 0 ? 3600 : end - now_s();
        int patience = !all || left <= 0 ? 0 : left < 3600 ? (int)(left * 1e3) + 1 : 3600000, count = 0;
        if (fine) {
            Py_BEGIN_ALLOW_THREADS
            count = epoll_wait(poll, events, READY_MAX, patience);
            Py_END_ALLOW_THREADS
            fine = count >= 0 || (errno == EINTR ? !PyErr_CheckSignals() : PyErr_SetFromErrno(PyExc_OSError) != NULL);
        }
        for (int each = 0; fine && each < count; each++) {
            if (events[each].data.fd == self->wake_fd)
                continue;
            PyObject *descriptor = PyLong_FromLong(events[each].data.fd);
            fine = descriptor && !PyList_Append(ready, descriptor);
            Py_XDECREF(descriptor);
        }
        if (!fine)
            Py_CLEAR(ready);
        else if (PyList_GET_SIZE(ready) || left <= 0)
            break;
    }
    free_treatment(&how);
    return ready;
}

static PyObject *box_flush(BoxEnd *self, PyObject *nothing) {
    (void)nothing;
    box_publish(self);
    Py_RETURN_NONE;
}

static PyObject *box_close(BoxEnd *self, PyObject *nothing) {
    (void)self;
    (void)nothing;
    Py_RETURN_NONE;
}

static PyMethodDef box_methods[] = {
    {"fileno", (PyCFunction)box_fileno, METH_NOARGS, "The descriptor that is readable when packets wait."},
    {"take", (PyCFunction)(void (*)(void))box_take, METH_FASTCALL, "Packets that wait: slot, filter, packet."},
    {"room", (PyCFunction)box_room, METH_O, "All of a slot."},
    {"answer", (PyCFunction)(void (*)(void))box_answer, METH_FASTCALL, "Say what becomes of a packet."},
    {"inject", (PyCFunction)(void (*)(void))box_inject, METH_VARARGS | METH_KEYWORDS, "Send a packet of one's own."},
    {"attend", (PyCFunction)box_attend, METH_VARARGS, "Treat packets until something else is to be done."},
    {"flush", (PyCFunction)box_flush, METH_NOARGS, "Hand over what was answered and injected."},
    {"close", (PyCFunction)box_close, METH_NOARGS, "Nothing: the memory stays for views into it."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot box_slots[] = {
    {Py_tp_doc, "The container's end of a ring."},
    {Py_tp_init, box_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, box_dealloc},
    {Py_tp_methods, box_methods},
    {0, NULL},
};

static PyType_Spec box_spec = {"netserv.forwarding._box_end.BoxEnd", sizeof(BoxEnd), 0, Py_TPFLAGS_DEFAULT, box_slots};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_box_end", "The container's end of a ring.", -1, NULL,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__box_end(void) {
    PyObject *module = PyModule_Create(&definition), *box = PyType_FromSpec(&box_spec);
    return module && box && !PyModule_AddObject(module, "BoxEnd", box) ? module : NULL;
}
