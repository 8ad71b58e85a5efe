// Package views shows people who may see only a part of a table that part,
// natively: one barrier view for each such table, in a schema of its own.
//
// The view is owned by a NOLOGIN role that owns nothing else and may only read
// the tables that have views; people have no privilege on the table itself and
// query the view's name. What a person sees is decided by the evaluator of
// package policy: their filter and masks are taken apart into SQL, which
// stands in the view once for everybody of the same shape, and values, which
// stand in a table that nobody but the owner reads and are found by session_user.
// So neither the view's definition nor its plan holds a person's values or a key.
//
// Hashes are HMACs made of built-in functions over keys in that table. A
// function of ours would have to be executable by everybody who queries the view,
// who could then try values against it: what a view calls is checked as its
// caller, what it reads as its owner.
//
// What PostgreSQL computes otherwise than the evaluator does is refused, with
// the reason: such people get nothing here.
package views
