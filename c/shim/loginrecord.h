/*
 * loginrecord.h: audit records of logins, composed without the library.
 */
#ifndef PORTCULLIS_LOGINRECORD_H
#define PORTCULLIS_LOGINRECORD_H

#include "postgres.h"
#include "libpq/libpq-be.h"

/* Of a governed login; reason NULL: let in.  Neither waits nor raises for want of room. */
extern void pc_record_login(Port *port, bool accepted, const char *reason);

/* A version 4 UUID: 36 characters and NUL. */
extern void pc_make_uuid(char *to);

#endif
