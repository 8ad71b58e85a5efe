// Package connection is native enforcement: PostgreSQL instances that people
// reach with their own connection strings, whose GRANTs are kept equal to the
// subscription policies. It knows PostgreSQL and package policy; it has no
// store and no API, which package service adds.
//
//	dial    reaching an instance: TLS, passwords, AWS tokens, what answered
//	setup   registration: what the system account needs, scripts for a DBA, the broker
//	crawl   Host > Database > Schema > Table as the instance has them
//	grants  desired against effective privileges, and the difference applied
//	filter  row filters as expressions of PostgreSQL, values apart
//	parts   what rows and views have in common: jobs that wait for others' locks
//	rows    row-level security for people who may see some rows of a table
//	views   barrier views for people who may see a part of a table
//	mapping which role of the instance is which person
//
// The types here are what these packages and the service hand each other.
package connection
