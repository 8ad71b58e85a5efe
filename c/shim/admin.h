/*
 * admin.h: what the administrators' SQL functions share.
 */
#ifndef PORTCULLIS_ADMIN_H
#define PORTCULLIS_ADMIN_H

/* Refuses governed sessions, and servers that did not preload the module. */
extern void pc_admin_check(void);

#endif
