package setup

// Codes of connection.Error that this package makes, beside those of dial and broker.
const (
	CodeMode        = "invalid_mode"
	CodeAccount     = "invalid_account"
	CodeDatabase    = "unknown_database"
	CodePassword    = "invalid_password"
	CodeAccountIs   = "account_exists"        // and its password is not known
	CodeSame        = "setup_account"         // the DBA's own account cannot be the system account
	CodeEscalation  = "createrole_escalation" // grantor mode up to PostgreSQL 15
	CodePrivilege   = "missing_privilege"
	CodeHalf        = "setup_incomplete" // some of it was done; running it again does the rest
	CodeUnavailable = "not_supported"
)
