package setup

import (
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// TestAFalseBrokerIsNotCalled: a function in the broker's place that acts as its
// caller would run as the account.
func TestAFalseBrokerIsNotCalled(t *testing.T) {
	w := newWorld(t, 0, connection.ModeBroker)
	w.target.Password = "account-password"
	w.sql("postgres", "CREATE ROLE "+sqltext.Identifier(account)+" LOGIN PASSWORD 'account-password'")
	w.sql("shop", `CREATE TABLE trap (who name); GRANT INSERT ON trap TO PUBLIC; CREATE SCHEMA portcullis_broker AUTHORIZATION keeper; GRANT USAGE ON SCHEMA portcullis_broker TO PUBLIC;
		CREATE FUNCTION portcullis_broker.about() RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO public.trap VALUES (current_user); SELECT '{}'::jsonb $$;
		CREATE FUNCTION portcullis_broker.tables(changes jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$`)
	if _, err := Check(t.Context(), w.dialer, w.target, []string{"shop"}); err != nil {
		t.Fatal(err)
	}
	if n := w.text("shop", "SELECT count(*)::text FROM trap"); n != "0" {
		t.Errorf("the account ran what others wrote, %s times", n)
	}
}
