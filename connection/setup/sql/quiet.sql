-- The password's verifier stays out of the log, where the session may say so.
SELECT count(set_config(s.name, v.value, true)) AS settings_for_the_log
	FROM (VALUES ('log_statement', 'none'), ('log_min_duration_statement', '-1'), ('log_min_duration_sample', '-1'),
		('log_transaction_sample_rate', '0'), ('log_min_error_statement', 'panic'), ('log_duration', 'off'),
		('pgaudit.log', 'none'), ('pg_stat_statements.track_utility', 'off'), ('auto_explain.log_min_duration', '-1')) v(name, value)
	JOIN pg_catalog.pg_settings s ON s.name = v.name
	WHERE s.context = 'user' OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user);
