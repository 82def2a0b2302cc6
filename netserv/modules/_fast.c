/* What modules do for each packet, in C: optional, since each function has a form in Python that is complete.

plain_response   modules/blocks/sip_plain.py
plain_answers    likewise
plain_reply      modules/packets.py
PacketView       likewise

No state but tables that are made once. Everything is read within the bounds of what was given, which comes from the
network.
*/

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_views.h"

struct span {
    const uint8_t *at;
    size_t size;
};

enum { LINES_MAX = 64, URI_MAX = 512, HOST_MAX = 253, SIP_PORT = 5060, CSEQ_DIGITS = 10 };
enum { VIA = 1, FROM = 2, TO = 4, CALL_ID = 8, CSEQ = 16, EVENT = 32, LENGTH = 64, OTHER = 0, REFUSED = -1 };
enum { NEEDED = VIA | FROM | TO | CALL_ID | CSEQ };

/* ---- bytes ---- */

static uint32_t crc_table[8][256];

static void make_crc_table(void) {
    for (uint32_t number = 0; number < 256; number++) {
        uint32_t value = number;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
        crc_table[0][number] = value;
    }
    for (int row = 1; row < 8; row++)
        for (int number = 0; number < 256; number++)
            crc_table[row][number] = crc_table[row - 1][number] >> 8 ^ crc_table[0][crc_table[row - 1][number] & 0xFF];
}

static uint32_t crc32_of(struct span data) {
    uint32_t found = 0xFFFFFFFFu;
    const uint8_t *at = data.at, *end = data.at + data.size;
    for (; end - at >= 8; at += 8) {
        uint32_t low = found ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
        found = crc_table[7][low & 0xFF] ^ crc_table[6][low >> 8 & 0xFF] ^ crc_table[5][low >> 16 & 0xFF] ^
                crc_table[4][low >> 24] ^ crc_table[3][at[4]] ^ crc_table[2][at[5]] ^ crc_table[1][at[6]] ^
                crc_table[0][at[7]];
    }
    for (; at < end; at++)
        found = found >> 8 ^ crc_table[0][(found ^ *at) & 0xFF];
    return ~found;
}

static inline uint8_t lower(uint8_t letter) {
    return letter >= 'A' && letter <= 'Z' ? letter | 0x20 : letter;
}

static inline bool is_space(uint8_t letter) {
    return letter == ' ' || letter == '\t';
}

static inline bool is_digit(uint8_t letter) {
    return letter >= '0' && letter <= '9';
}

static bool is_text(struct span found, const char *text) {
    size_t size = strlen(text);
    if (found.size != size)
        return false;
    for (size_t each = 0; each < size; each++)
        if (lower(found.at[each]) != (uint8_t)text[each])
            return false;
    return true;
}

static bool begins(struct span found, const char *text) {
    size_t size = strlen(text);
    return found.size >= size && is_text((struct span){found.at, size}, text);
}

static struct span behind(struct span all, size_t count) {
    return (struct span){all.at + count, all.size - count};
}

static struct span without_spaces(struct span all) {
    while (all.size && is_space(*all.at))
        all = behind(all, 1);
    while (all.size && is_space(all.at[all.size - 1]))
        all.size--;
    return all;
}

/* What stands before the first of that byte, all of it where there is none. */
static struct span until(struct span all, uint8_t byte) {
    const uint8_t *found = all.size ? memchr(all.at, byte, all.size) : NULL;
    return (struct span){all.at, found ? (size_t)(found - all.at) : all.size};
}

/* ---- SIP ---- */

static int kind_of(struct span name) {
    switch (name.size) {
    case 1:
        switch (lower(*name.at)) {
        case 'v': return VIA;
        case 'f': return FROM;
        case 't': return TO;
        case 'i': return CALL_ID;
        case 'o': return EVENT;
        case 'l': return LENGTH;
        default: return OTHER;
        }
    case 2: return is_text(name, "to") ? TO : OTHER;
    case 3: return is_text(name, "via") ? VIA : OTHER;
    case 4: return is_text(name, "from") ? FROM : is_text(name, "cseq") ? CSEQ : OTHER;
    case 5: return is_text(name, "event") ? EVENT : OTHER;
    case 7: return is_text(name, "call-id") ? CALL_ID : is_text(name, "require") ? REFUSED : OTHER;
    case 13: return is_text(name, "proxy-require") ? REFUSED : OTHER;
    case 14: return is_text(name, "content-length") ? LENGTH : OTHER;
    default: return OTHER;
    }
}

static bool is_first_line(struct span line, struct span method) {
    static const char version[] = " SIP/2.0";
    size_t least = method.size + 1 + 1 + sizeof version - 1;
    if (line.size < least || line.size > least - 1 + URI_MAX || memcmp(line.at, method.at, method.size) ||
        line.at[method.size] != ' ' || memcmp(line.at + line.size - (sizeof version - 1), version, sizeof version - 1))
        return false;
    for (const uint8_t *at = line.at + method.size + 1; at < line.at + line.size - (sizeof version - 1); at++)
        if (*at <= 0x20 || *at == 0x7F)
            return false;
    return true;
}

static bool is_cseq(struct span value, struct span method) {
    value = without_spaces(value);
    size_t digits = 0;
    while (digits < value.size && is_digit(value.at[digits]))
        digits++;
    if (!digits || digits > CSEQ_DIGITS || digits == value.size || !is_space(value.at[digits]))
        return false;
    value = without_spaces(behind(value, digits));
    return value.size == method.size && !memcmp(value.at, method.at, method.size);
}

static bool is_nothing(struct span value) {
    for (value = without_spaces(value); value.size; value = behind(value, 1))
        if (*value.at != '0' && !is_space(*value.at))
            return false;
    return true;
}

static bool is_event(struct span value, struct span event) {
    struct span type = without_spaces(until(value, ';'));
    if (type.size != event.size)
        return false;
    for (size_t each = 0; each < type.size; each++)
        if (lower(type.at[each]) != lower(event.at[each]))
            return false;
    return true;
}

static bool has_tag(struct span value) {
    while (value.size) {
        value = behind(value, until(value, ';').size);
        if (!value.size)
            return false;
        value = behind(value, 1);
        struct span rest = value;
        while (rest.size && is_space(*rest.at))
            rest = behind(rest, 1);
        if (!begins(rest, "tag"))
            continue;
        rest = behind(rest, 3);
        while (rest.size && is_space(*rest.at))
            rest = behind(rest, 1);
        if (rest.size && *rest.at == '=')
            return true;
    }
    return false;
}

static bool has_received(struct span value) {
    for (; value.size; value = behind(value, 1))
        if (lower(*value.at) == 'r' && begins(value, "received"))
            return true;
    return false;
}

/* How many bytes stand before the first that is below a space, or is DEL: eight are looked at together. */
static size_t plain_size(struct span all) {
    static const uint64_t ones = ~UINT64_C(0) / 255, high = ones << 7;
    size_t count = 0;
    for (uint64_t word; count + sizeof word <= all.size; count += sizeof word) {
        memcpy(&word, all.at + count, sizeof word);
        uint64_t del = word ^ ones * 0x7F;
        if ((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & high)
            break; /* one of them, or a byte that took from its neighbour: they are told apart below */
    }
    while (count < all.size && all.at[count] >= 0x20 && all.at[count] != 0x7F)
        count++;
    return count;
}

static inline bool is_of_host(uint8_t letter, bool bracketed) {
    if (is_digit(letter) || letter == '.')
        return true;
    letter = lower(letter);
    return bracketed ? (letter >= 'a' && letter <= 'f') || letter == ':' : (letter >= 'a' && letter <= 'z') || letter == '-';
}

/* Host and port of a Via, behind its name. */
static bool sent_by(struct span value, struct span *host, long *port) {
    value = without_spaces(value);
    if (!begins(value, "sip/2.0/udp"))
        return false;
    value = behind(value, 11);
    if (!value.size || !is_space(*value.at))
        return false;
    value = without_spaces(value);
    bool bracketed = value.size && *value.at == '[';
    if (bracketed)
        value = behind(value, 1);
    *host = (struct span){value.at, 0};
    while (host->size < value.size && is_of_host(value.at[host->size], bracketed))
        host->size++;
    value = behind(value, host->size);
    if (bracketed) {
        if (host->size < 2 || host->size > 45 || !value.size || *value.at != ']')
            return false;
        value = behind(value, 1);
    } else if (!host->size || host->size > HOST_MAX) {
        return false;
    }
    *port = SIP_PORT;
    if (!value.size)
        return true;
    if (*value.at != ':' || value.size < 2 || value.size > 6)
        return false;
    *port = 0;
    for (value = behind(value, 1); value.size; value = behind(value, 1)) {
        if (!is_digit(*value.at))
            return false;
        *port = 10 * *port + (*value.at - '0');
    }
    return *port >= 1 && *port <= 65535;
}

/* The response as far as it is written. Each line of the request is in it once at most, and there is room for more. */
struct writer {
    uint8_t *at;
};

static void put(struct writer *to, struct span data) {
    memcpy(to->at, data.at, data.size);
    to->at += data.size;
}

static void put_text(struct writer *to, const char *text) {
    put(to, (struct span){(const uint8_t *)text, strlen(text)});
}

static void put_number(struct writer *to, unsigned long number) {
    char text[24]; /* of 64 bits: whoever calls this may say more than a port */
    size_t at = sizeof text;
    do
        text[--at] = (char)('0' + number % 10);
    while (number /= 10);
    put(to, (struct span){(const uint8_t *)text + at, sizeof text - at});
}

static void put_hex(struct writer *to, uint32_t number) {
    for (int shift = 28; shift >= 0; shift -= 4)
        *to->at++ = (uint8_t)"0123456789abcdef"[number >> shift & 15];
}

/* Whether a parameter of a Via is `rport`, with a value or without. */
static bool is_rport(struct span parameter) {
    struct span name = without_spaces(until(parameter, '='));
    return is_text(name, "rport");
}

/* The topmost Via with where the request came from; the port for the response, 0 where the server has to judge it. */
static long put_via(struct writer *to, struct span line, struct span value, struct span address, long came_by) {
    struct span top = until(line, ','), others = behind(line, top.size);
    struct span head = until(top, ';'), parameters = behind(top, head.size), host;
    long port;
    if (value.at > head.at + head.size || !sent_by((struct span){value.at, (size_t)(head.at + head.size - value.at)}, &host, &port) ||
        has_received(parameters))
        return 0;
    bool asked = false;
    put_text(to, "\r\n");
    put(to, head);
    while (parameters.size) {
        struct span parameter = until(behind(parameters, 1), ';');
        put_text(to, ";");
        if (!asked && is_rport(parameter)) {
            asked = true;
            put_text(to, "rport=");
            put_number(to, (unsigned long)came_by);
        } else {
            put(to, parameter);
        }
        parameters = behind(parameters, 1 + parameter.size);
    }
    bool same = host.size == address.size;
    for (size_t each = 0; same && each < host.size; each++)
        same = lower(host.at[each]) == address.at[each];
    if (asked || !same) {
        put_text(to, ";received=");
        put(to, address);
        port = came_by;
    }
    put(to, others);
    return port;
}

struct rules {
    struct span method, event, status, salt;
};

/* Write the response; the port that it goes to, 0 where only the server can judge the request. */
static long respond(struct writer *to, struct span head, const struct rules *rules, struct span address, long came_by) {
    int seen = 0, lines = 0;
    long port = 0;
    put_text(to, "SIP/2.0 ");
    put(to, rules->status);
    for (struct span rest = head; rest.size || !lines;) {
        struct span line = rest;
        for (size_t each = 0;; each++) {
            each += plain_size(behind(rest, each));
            if (each == rest.size) {
                rest.size = 0;
                break;
            }
            if (rest.at[each] == '\r' && each + 2 < rest.size && rest.at[each + 1] == '\n') {
                line.size = each;
                rest = behind(rest, each + 2);
                break;
            }
            if (rest.at[each] != '\t')
                return 0; /* lines are copied, so no line end of another kind may be in them */
        }
        if (++lines > LINES_MAX)
            return 0;
        if (lines == 1) {
            if (!is_first_line(line, rules->method))
                return 0;
            continue;
        }
        struct span name = until(line, ':'), value = behind(line, name.size);
        if (!value.size || !name.size || is_space(*name.at))
            return 0; /* section 7.3.1: a line that begins with white space goes on with the one before */
        value = behind(value, 1);
        int kind = kind_of(without_spaces(name));
        if (kind == REFUSED || (kind != VIA && seen & kind))
            return 0;
        switch (kind) {
        case OTHER:
            continue;
        case VIA:
            if (!port) {
                port = put_via(to, line, value, address, came_by);
                if (!port)
                    return 0;
                seen |= kind;
                continue;
            }
            break;
        case EVENT:
            if (rules->event.size && !is_event(value, rules->event))
                return 0;
            seen |= kind;
            continue;
        case LENGTH:
            if (!is_nothing(value))
                return 0;
            seen |= kind;
            continue;
        case CSEQ:
            if (!is_cseq(value, rules->method))
                return 0;
            break;
        case TO:
            if (has_tag(value))
                return 0;
            break;
        default:
            break;
        }
        seen |= kind;
        put_text(to, "\r\n");
        put(to, line);
        if (kind == TO) {
            put_text(to, ";tag=");
            put(to, rules->salt);
            put_hex(to, crc32_of(head));
        }
    }
    int needed = NEEDED | (rules->event.size ? EVENT : 0);
    put_text(to, "\r\nContent-Length: 0\r\n\r\n");
    return (seen & needed) == needed ? port : 0;
}

/* Method, event, status and salt. */
static bool read_rules(PyObject *const *arguments, struct rules *rules) {
    struct span *texts[] = {&rules->method, &rules->event, &rules->status, &rules->salt};
    for (int each = 0; each < 4; each++) {
        if (!PyBytes_Check(arguments[each])) {
            PyErr_SetString(PyExc_TypeError, "method, event, status and salt are bytes");
            return false;
        }
        *texts[each] =
            (struct span){(const uint8_t *)PyBytes_AS_STRING(arguments[each]), (size_t)PyBytes_GET_SIZE(arguments[each])};
    }
    return true;
}

/* Of the response to a datagram, at most. */
static size_t response_room(struct span data, const struct rules *rules, struct span address) {
    return data.size + address.size + rules->status.size + rules->salt.size + 128;
}

/* Write the response to a datagram; the port that it goes to, 0: none. */
static long respond_to(struct writer *to, struct span data, const struct rules *rules, struct span address, long came_by) {
    /* No body: the head ends where the datagram does, and not before, since no line of it may be empty. */
    if (data.size <= 4 || memcmp(data.at + data.size - 4, "\r\n\r\n", 4))
        return 0;
    return respond(to, (struct span){data.at, data.size - 4}, rules, address, came_by);
}

static PyObject *plain_response(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    Py_buffer data;
    struct rules rules;
    if (count != 7) {
        PyErr_SetString(PyExc_TypeError, "plain_response(data, address, port, method, event, status, salt)");
        return NULL;
    }
    if (!read_rules(arguments + 3, &rules))
        return NULL;
    Py_ssize_t address_size;
    const char *address_text = PyUnicode_AsUTF8AndSize(arguments[1], &address_size);
    long came_by = address_text ? PyLong_AsLong(arguments[2]) : -1;
    if (PyErr_Occurred() || PyObject_GetBuffer(arguments[0], &data, PyBUF_SIMPLE))
        return NULL;
    struct span address = {(const uint8_t *)address_text, (size_t)address_size}, all = {data.buf, (size_t)data.len};
    PyObject *answer = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)response_room(all, &rules, address)), *found = NULL;
    if (answer) {
        struct writer to = {(uint8_t *)PyBytes_AS_STRING(answer)};
        long port = respond_to(&to, all, &rules, address, came_by);
        if (!port)
            Py_INCREF(found = Py_None);
        else
            found = Py_BuildValue("y#l", PyBytes_AS_STRING(answer), (Py_ssize_t)(to.at - (uint8_t *)PyBytes_AS_STRING(answer)),
                                  port);
        Py_DECREF(answer);
    }
    PyBuffer_Release(&data);
    return found;
}

/* ---- packets ---- */

/* The sum of words of 16 bits, as the machine reads them: its bytes stand in the order of theirs (RFC 1071 section 2). */
static uint32_t sum_of(const uint8_t *at, size_t size, uint32_t sum) {
    uint64_t all = sum;
    uint32_t word;
    for (; size >= sizeof word; at += sizeof word, size -= sizeof word) {
        memcpy(&word, at, sizeof word);
        all += word;
    }
    word = 0;
    memcpy(&word, at, size);
    all += word;
    while (all >> 32)
        all = (all & 0xFFFFFFFFu) + (all >> 32);
    return (uint32_t)all;
}

static uint16_t folded(uint32_t sum) {
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)~sum;
}

static void put_sum(uint8_t *at, uint16_t sum) {
    memcpy(at, &sum, sizeof sum);
}

static void put16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value;
}

enum { PAYLOAD_MAX = 0xFFFF - 28, REPLY_TTL = 64 };

/* UDP in IPv4 without options, and no later fragment. */
static bool is_plain(struct span all) {
    return all.size >= 28 && all.at[0] == 0x45 && all.at[9] == 17 && !(all.at[6] & 0x1F) && !all.at[7];
}

/* The headers of a plain packet that goes back to where another one is from; behind them stands what it carries. */
static void write_headers(uint8_t *to, const uint8_t *from, size_t payload, long ttl, uint32_t port) {
    uint32_t length = 8 + (uint32_t)payload;
    to[0] = 0x45, to[1] = from[1];
    put16(to + 2, 20 + length);
    memcpy(to + 4, from + 4, 2);
    to[6] = from[6] & 0x40, to[7] = 0;
    to[8] = (uint8_t)ttl, to[9] = 17;
    put16(to + 10, 0);
    memcpy(to + 12, from + 16, 4);
    memcpy(to + 16, from + 12, 4);
    put_sum(to + 10, folded(sum_of(to, 20, 0)));
    memcpy(to + 20, from + 22, 2);
    put16(to + 22, port);
    put16(to + 24, length);
    put16(to + 26, 0);
    uint8_t pseudo[4] = {0, 17, (uint8_t)(length >> 8), (uint8_t)length};
    uint16_t checksum = folded(sum_of(to + 12, 8 + length, sum_of(pseudo, sizeof pseudo, 0)));
    put_sum(to + 26, checksum ? checksum : 0xFFFF); /* 0 would say that there is no checksum */
}

/* A plain packet back to where another one is from; None where that is of another kind. */
static PyObject *plain_reply(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    Py_buffer raw, payload;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "plain_reply(raw, payload, ttl)");
        return NULL;
    }
    long ttl = PyLong_AsLong(arguments[2]);
    if (PyErr_Occurred() || PyObject_GetBuffer(arguments[0], &raw, PyBUF_SIMPLE))
        return NULL;
    if (PyObject_GetBuffer(arguments[1], &payload, PyBUF_SIMPLE)) {
        PyBuffer_Release(&raw);
        return NULL;
    }
    PyObject *made = NULL;
    const uint8_t *from = raw.buf;
    if (!is_plain((struct span){from, (size_t)raw.len})) {
        Py_INCREF(made = Py_None);
    } else if (payload.len > PAYLOAD_MAX) {
        PyErr_Format(PyExc_ValueError, "a packet of %zd bytes; 65535 are possible", payload.len + 28);
    } else if ((made = PyByteArray_FromStringAndSize(NULL, 28 + payload.len))) {
        uint8_t *to = (uint8_t *)PyByteArray_AS_STRING(made);
        memcpy(to + 28, payload.buf, (size_t)payload.len);
        write_headers(to, from, (size_t)payload.len, ttl, (uint32_t)from[20] << 8 | from[21]);
    }
    PyBuffer_Release(&payload);
    PyBuffer_Release(&raw);
    return made;
}

/* ---- a packet as a module sees it ---- */

enum { UDP = 17, TCP = 6, IP4_MIN = 20, IP6 = 40, NOWHERE = -1, EXTENSIONS_MAX = 8 };
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60 };

typedef struct {
    PyObject_HEAD
    PyObject *raw;           /* none: made when it is asked for, of `memory` */
    struct span memory;      /* of a ring, which stays; nowhere: `raw` has the bytes */
    Py_ssize_t transport_at; /* 0: not looked for yet; NOWHERE */
    int proto;               /* behind extension headers; known with the place */
} View;

/* The bytes of a packet, for as long as nothing of Python's runs. Memory of others cannot be kept: who gave it may release
 * it. */
static bool bytes_of(View *self, struct span *all) {
    Py_buffer buffer;
    if (self->memory.at) {
        *all = self->memory;
        return true;
    }
    if (PyObject_GetBuffer(self->raw, &buffer, PyBUF_SIMPLE))
        return false;
    *all = (struct span){buffer.buf, (size_t)buffer.len};
    PyBuffer_Release(&buffer);
    return true;
}

/* Whether a byte is there; with IndexError where it is not. */
static bool has_byte(struct span all, size_t at) {
    if (at < all.size)
        return true;
    PyErr_SetString(PyExc_IndexError, "the packet is shorter");
    return false;
}

static bool is_four(struct span all) {
    return *all.at < 0x60;
}

static Py_ssize_t transport_of(struct span all, int *proto) {
    const uint8_t *raw = all.at;
    if (is_four(all)) {
        *proto = raw[9];
        if ((raw[6] & 0x1F) || raw[7])
            return NOWHERE; /* a later fragment */
        return (raw[0] & 15) > 5 ? (raw[0] & 15) * 4 : IP4_MIN;
    }
    size_t at = IP6;
    *proto = raw[6];
    for (int each = 0; each < EXTENSIONS_MAX && at + 8 <= all.size; each++) {
        if (*proto == HOP_BY_HOP || *proto == ROUTING || *proto == DESTINATION) {
            *proto = raw[at];
            at += 8 + (size_t)raw[at + 1] * 8;
        } else if (*proto == FRAGMENT) {
            *proto = raw[at];
            if (raw[at + 2] || raw[at + 3] & 0xF8)
                return NOWHERE;
            at += 8;
        } else {
            break;
        }
    }
    bool listed = *proto == HOP_BY_HOP || *proto == ROUTING || *proto == DESTINATION;
    return listed || at > all.size ? NOWHERE : (Py_ssize_t)at;
}

/* Bytes, and the transport header; it is looked for once. */
static bool look(View *self, struct span *all) {
    if (!bytes_of(self, all))
        return false;
    if (self->transport_at)
        return true;
    if (!has_byte(*all, 0) || !has_byte(*all, is_four(*all) ? 9 : 6))
        return false;
    self->transport_at = transport_of(*all, &self->proto);
    return true;
}

static Py_ssize_t ports_at(View *self, struct span all) {
    bool there = self->transport_at != NOWHERE && (self->proto == UDP || self->proto == TCP);
    return there && (size_t)self->transport_at + 8 <= all.size ? self->transport_at : NOWHERE;
}

static Py_ssize_t payload_at(View *self, struct span all) {
    size_t at = (size_t)self->transport_at, found = at;
    if (self->transport_at == NOWHERE) {
        size_t header = all.size ? (size_t)(*all.at & 15) * 4 : 0;
        found = all.size && !is_four(all) ? IP6 : header > IP4_MIN ? header : IP4_MIN;
    } else if (self->proto == UDP) {
        found = at + 8;
    } else if (self->proto == TCP && at + 13 <= all.size) {
        size_t header = (size_t)(all.at[at + 12] >> 4) * 4;
        found = at + (header > 20 ? header : 20);
    }
    return (Py_ssize_t)(found < all.size ? found : all.size);
}

static int view_init(View *self, PyObject *arguments, PyObject *keywords) {
    PyObject *raw;
    if (keywords && PyDict_GET_SIZE(keywords)) {
        static char *names[] = {"raw", NULL};
        if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O", names, &raw))
            return -1;
    } else if (PyTuple_GET_SIZE(arguments) == 1) {
        raw = PyTuple_GET_ITEM(arguments, 0);
    } else {
        PyErr_SetString(PyExc_TypeError, "a packet is made of its bytes");
        return -1;
    }
    Py_INCREF(raw);
    Py_XSETREF(self->raw, raw);
    self->memory = (struct span){NULL, 0};
    self->transport_at = 0;
    return 0;
}

static PyObject *view_make(PyTypeObject *type, uint8_t *at, size_t size) {
    View *made = (View *)type->tp_alloc(type, 0);
    if (made)
        made->memory = (struct span){at, size};
    return (PyObject *)made;
}

static void view_move(PyObject *packet, uint8_t *at, size_t size) {
    View *self = (View *)packet;
    Py_CLEAR(self->raw);
    self->memory = (struct span){at, size};
    self->transport_at = 0;
}

static const struct views views = {view_make, view_move};

static PyObject *view_raw(View *self, void *nothing) {
    (void)nothing;
    if (!self->raw)
        self->raw = PyMemoryView_FromMemory((char *)self->memory.at, (Py_ssize_t)self->memory.size, PyBUF_WRITE);
    Py_XINCREF(self->raw);
    return self->raw;
}

static PyObject *view_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    (void)arguments, (void)keywords;
    View *made = (View *)type->tp_alloc(type, 0);
    if (made)
        Py_INCREF(made->raw = Py_None); /* until it has some */
    return (PyObject *)made;
}

static void view_dealloc(View *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->raw);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *part_of(struct span all, size_t from, size_t to) {
    to = to < all.size ? to : all.size;
    return PyBytes_FromStringAndSize((const char *)all.at + (from < to ? from : to), from < to ? (Py_ssize_t)(to - from) : 0);
}

enum { VERSION, TTL, SRC, DST, ENDS };

static PyObject *view_head(View *self, void *what) {
    struct span all;
    if (!bytes_of(self, &all) || !has_byte(all, 0))
        return NULL;
    bool four = is_four(all);
    size_t first = four ? 12 : 8, last = four ? IP4_MIN : IP6; /* of the addresses */
    switch ((intptr_t)what) {
    case VERSION: return PyLong_FromLong(*all.at >> 4);
    case TTL: return has_byte(all, four ? 8 : 7) ? PyLong_FromLong(all.at[four ? 8 : 7]) : NULL;
    case SRC: return part_of(all, first, (first + last) / 2);
    case DST: return part_of(all, (first + last) / 2, last);
    default: return part_of(all, first, all.size < last ? first : last);
    }
}

static PyObject *view_proto(View *self, void *nothing) {
    (void)nothing;
    struct span all;
    if (!bytes_of(self, &all) || !has_byte(all, 0))
        return NULL;
    if (is_four(all))
        return has_byte(all, 9) ? PyLong_FromLong(all.at[9]) : NULL;
    return look(self, &all) ? PyLong_FromLong(self->proto) : NULL;
}

static PyObject *view_port(View *self, void *offset) {
    struct span all;
    if (!look(self, &all))
        return NULL;
    Py_ssize_t at = ports_at(self, all);
    if (at == NOWHERE)
        return PyLong_FromLong(0);
    at += (intptr_t)offset;
    return PyLong_FromLong(all.at[at] << 8 | all.at[at + 1]);
}

static PyObject *slice_of(View *self, Py_ssize_t from, Py_ssize_t to) {
    PyObject *raw = view_raw(self, NULL), *slice = raw ? PySequence_GetSlice(raw, from, to) : NULL;
    Py_XDECREF(raw);
    return slice;
}

static PyObject *view_payload(View *self, void *nothing) {
    (void)nothing;
    struct span all;
    if (!look(self, &all))
        return NULL;
    Py_ssize_t at = self->transport_at;
    if (at != NOWHERE && self->proto == UDP && (size_t)at + 8 <= all.size) {
        Py_ssize_t length = all.at[at + 4] << 8 | all.at[at + 5];
        return slice_of(self, at + 8, at + (length > 8 ? length : 8));
    }
    return slice_of(self, payload_at(self, all), PY_SSIZE_T_MAX);
}

static PyObject *view_find_transport(View *self, PyObject *nothing) {
    (void)nothing;
    struct span all;
    return look(self, &all) ? PyLong_FromSsize_t(self->transport_at) : NULL;
}

static PyObject *view_ports_at(View *self, PyObject *nothing) {
    (void)nothing;
    struct span all;
    return look(self, &all) ? PyLong_FromSsize_t(ports_at(self, all)) : NULL;
}

static PyObject *view_payload_at(View *self, PyObject *nothing) {
    (void)nothing;
    struct span all;
    return look(self, &all) ? PyLong_FromSsize_t(payload_at(self, all)) : NULL;
}

static PyGetSetDef view_properties[] = {
    {"raw", (getter)view_raw, NULL, "All of it, writable.", NULL},
    {"version", (getter)view_head, NULL, "4 or 6.", (void *)VERSION},
    {"ttl", (getter)view_head, NULL, "TTL, or hop limit.", (void *)TTL},
    {"src", (getter)view_head, NULL, "Source address, packed: 4 or 16 bytes.", (void *)SRC},
    {"dst", (getter)view_head, NULL, "Destination address, packed.", (void *)DST},
    {"ends", (getter)view_head, NULL, "Source and destination address, packed; empty where they are not whole.", (void *)ENDS},
    {"proto", (getter)view_proto, NULL, "Transport protocol, 17 for UDP; behind the extension headers of IPv6.", NULL},
    {"sport", (getter)view_port, NULL, "Source port; 0 where there is none.", (void *)0},
    {"dport", (getter)view_port, NULL, "Destination port; 0 where there is none.", (void *)2},
    {"payload", (getter)view_payload, NULL, "What UDP or TCP carry, without a copy.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef view_methods[] = {
    {"_find_transport", (PyCFunction)view_find_transport, METH_NOARGS, "Where the transport header begins."},
    {"_ports_at", (PyCFunction)view_ports_at, METH_NOARGS, "Where its ports are."},
    {"_payload_at", (PyCFunction)view_payload_at, METH_NOARGS, "Where the payload begins."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot view_slots[] = {
    {Py_tp_doc, "See `netserv.modules.packets`."},
    {Py_tp_new, view_new},
    {Py_tp_init, view_init},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_getset, view_properties},
    {Py_tp_methods, view_methods},
    {0, NULL},
};

static PyType_Spec view_spec = {"netserv.modules._fast.PacketView", sizeof(View), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, view_slots};

/* ---- plain requests in packets ---- */

static PyTypeObject *view_type;

/* The answer to a request that a plain packet carries; None where only the server can give it. */
static PyObject *answer_in(struct span all, const struct rules *rules) {
    static uint8_t made[28 + PAYLOAD_MAX + 1024]; /* one thread has the interpreter at a time */
    size_t end = 20 + ((size_t)all.at[24] << 8 | all.at[25]);
    struct span data = behind(all, 28), address;
    if (end < all.size)
        data.size = end < 28 ? 0 : end - 28;
    uint8_t text[16];
    struct writer to = {text};
    for (int each = 12; each < 16; each++) {
        if (each > 12)
            put_text(&to, ".");
        put_number(&to, all.at[each]);
    }
    address = (struct span){text, (size_t)(to.at - text)};
    long port = 0;
    to.at = made + 28;
    if (response_room(data, rules, address) <= sizeof made - 28)
        port = respond_to(&to, data, rules, address, (long)all.at[20] << 8 | all.at[21]);
    size_t size = (size_t)(to.at - made);
    if (!port || size > 28 + PAYLOAD_MAX)
        Py_RETURN_NONE;
    write_headers(made, all.at, size - 28, REPLY_TTL, (uint32_t)port);
    return PyBytes_FromStringAndSize((const char *)made, (Py_ssize_t)size);
}

static PyObject *answer_to(PyObject *packet, const struct rules *rules, PyObject *otherwise) {
    struct span all;
    if (PyObject_TypeCheck(packet, view_type)) {
        if (!bytes_of((View *)packet, &all))
            return NULL;
        if (is_plain(all))
            return answer_in(all, rules);
    }
    return PyObject_CallOneArg(otherwise, packet);
}

static PyObject *plain_answers(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    struct rules rules;
    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "plain_answers(packets, method, event, status, salt, otherwise)");
        return NULL;
    }
    PyObject *packets = read_rules(arguments + 1, &rules) ? PySequence_Tuple(arguments[0]) : NULL;
    PyObject *answers = packets ? PyList_New(PyTuple_GET_SIZE(packets)) : NULL, *left = PyList_New(0);
    for (Py_ssize_t each = 0; answers && left && each < PyTuple_GET_SIZE(packets); each++) {
        PyObject *answer = answer_to(PyTuple_GET_ITEM(packets, each), &rules, arguments[5]);
        PyObject *number = answer == Py_None ? PyLong_FromSsize_t(each) : NULL;
        if (answer)
            PyList_SET_ITEM(answers, each, answer);
        if (!answer || (answer == Py_None && (!number || PyList_Append(left, number))))
            Py_CLEAR(answers);
        Py_XDECREF(number);
    }
    Py_XDECREF(packets);
    PyObject *found = answers && left ? PyTuple_Pack(2, answers, left) : NULL;
    Py_XDECREF(answers);
    Py_XDECREF(left);
    return found;
}

static PyMethodDef methods[] = {
    {"plain_response", (PyCFunction)(void (*)(void))plain_response, METH_FASTCALL, "See `netserv.modules.blocks.sip_plain`."},
    {"plain_answers", (PyCFunction)(void (*)(void))plain_answers, METH_FASTCALL, "See `netserv.modules.blocks.sip_plain`."},
    {"plain_reply", (PyCFunction)(void (*)(void))plain_reply, METH_FASTCALL, "See `netserv.modules.packets`."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_fast", "What modules do for each packet.", -1, methods,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__fast(void) {
    make_crc_table();
    PyObject *module = PyModule_Create(&definition), *view = PyType_FromSpec(&view_spec);
    PyObject *offered = PyCapsule_New((void *)&views, VIEWS_NAME, NULL);
    view_type = (PyTypeObject *)view;
    bool fine = module && view && offered && !PyObject_SetAttrString(view, VIEWS_NAME, offered) &&
                !PyModule_AddObject(module, "PacketView", view);
    Py_XDECREF(offered);
    if (fine)
        return module;
    Py_XDECREF(view);
    Py_XDECREF(module);
    return NULL;
}
