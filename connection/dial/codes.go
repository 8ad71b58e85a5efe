package dial

// Codes of connection.Error that this package makes.
const (
	CodeInvalid      = "invalid_connection"   // the target itself makes no sense
	CodeUnknownHost  = "unknown_host"         // the name does not resolve
	CodeRefused      = "connection_refused"   // nobody listens
	CodeTimeout      = "timeout"              // no answer in time
	CodeUnreachable  = "unreachable"          // no route, reset, closed
	CodeAddress      = "address_not_allowed"  // the operator's guard
	CodeTLSRequired  = "tls_required"         // without TLS off this machine
	CodeNoTLS        = "tls_not_supported"    // the server has none
	CodeUnknownCA    = "tls_unknown_ca"       // certificate of an authority that is not trusted
	CodeWrongName    = "tls_wrong_name"       // certificate of another host
	CodeExpired      = "tls_expired"          // certificate not valid now
	CodeTLS          = "tls_failed"           // any other failure of the handshake
	CodeCA           = "ca_missing"           // no usable authority to verify with
	CodeNotPostgres  = "not_postgresql"       // something else answered
	CodeCredentials  = "wrong_credentials"    // user name or password
	CodeNoLogin      = "login_not_allowed"    // the role may not log in, or is not there
	CodeHBA          = "not_in_hba"           // pg_hba.conf lets us not in
	CodeDatabase     = "unknown_database"     // no such database, or none that takes connections
	CodeTooMany      = "too_many_connections" // of the instance, database or role
	CodeStarting     = "not_ready"            // starting up, shutting down
	CodeReplica      = "replica"              // read-only
	CodePooler       = "pooler"               // pgbouncer or the like in between
	CodeVersion      = "unsupported_version"  //
	CodePrivilege    = "missing_privilege"    //
	CodeAWS          = "aws_credentials"      // no token could be made
	CodeRemote       = "remote_error"         // any other error of the instance
	minVersion       = 14
	maxVersion       = 18
	supportedVersion = "14 to 18"
)
