/*
 * fdw_scan.h: composing a scan, for its execution and for EXPLAIN.
 */
#ifndef PORTCULLIS_FDW_SCAN_H
#define PORTCULLIS_FDW_SCAN_H

#include "fdw.h"

extern uint64 pc_compose(ForeignScanState *node, const pc_scan_grant *grant, bool explain_only);

#endif
