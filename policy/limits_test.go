package policy

import "testing"

func number(n int64) *int64 { return &n }

func TestLimitsFor(t *testing.T) {
	eve := PersonID{IAMID: "local", UserID: "eve"}
	everyone := LimitRule{Statements: number(5), Rows: number(100), Seconds: number(60)}
	sales := LimitRule{Group: "sales", Rows: number(50), Seconds: number(90), Bytes: number(7)}
	hr := LimitRule{Group: "hr", Rows: number(1)}
	for _, test := range []struct {
		name   string
		groups []string
		rules  []LimitRule
		want   Limits
	}{
		{"nothing stated", nil, nil, Limits{}},
		{"the default", nil, []LimitRule{everyone, sales, hr}, Limits{Statements: 5, Rows: 100, Seconds: 60}},
		{"the tightest of default and group", []string{"sales"}, []LimitRule{everyone, sales, hr}, Limits{Statements: 5, Rows: 50, Bytes: 7, Seconds: 60}},
		{"the tightest of two groups", []string{"sales", "hr"}, []LimitRule{sales, hr}, Limits{Rows: 1, Bytes: 7, Seconds: 90}},
		{"the person's replaces, wider too", []string{"sales"}, []LimitRule{everyone, sales, {Person: &eve, Rows: number(1000)}}, Limits{Statements: 5, Rows: 1000, Bytes: 7, Seconds: 60}},
		{"whatever the order", []string{"sales"}, []LimitRule{{Person: &eve, Rows: number(1000)}, everyone, sales}, Limits{Statements: 5, Rows: 1000, Bytes: 7, Seconds: 60}},
		{"the person's 0 lifts", nil, []LimitRule{everyone, {Person: &eve, Statements: number(0)}}, Limits{Rows: 100, Seconds: 60}},
		{"another person's", nil, []LimitRule{everyone, {Person: &PersonID{"other", "eve"}, Rows: number(1)}}, Limits{Statements: 5, Rows: 100, Seconds: 60}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := LimitsFor(&Person{PersonID: eve, Groups: test.groups}, test.rules); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestLimitsAsText(t *testing.T) {
	if got := (Limits{Statements: 2, Bytes: 10}).String(); got != "2 statements at once, 10 bytes" {
		t.Errorf("%q", got)
	}
}

// Acting as somebody else widens nothing.
func TestLimitsOfImpersonation(t *testing.T) {
	q := Question{
		Person:       &Person{PersonID: PersonID{"local", "eve"}, Status: StatusActive},
		Impersonator: &Person{PersonID: PersonID{"local", "max"}, Status: StatusActive, Permissions: []Permission{PermissionImpersonate}},
		DataSource:   &DataSource{ID: "d", Name: "d"}, DataSourceID: "d",
		Subscriptions: []Subscription{{DataSource: "d", Person: PersonID{"local", "eve"}}},
		Limits: []LimitRule{
			{Rows: number(10), Statements: number(3)},
			{Person: &PersonID{"local", "eve"}, Rows: number(0), Seconds: number(9)},
			{Person: &PersonID{"local", "max"}, Statements: number(8)},
		},
	}
	d := Evaluate(q)
	if want := (Limits{Statements: 3, Rows: 10, Seconds: 9}); !d.Allowed || d.Limits != want {
		t.Errorf("allowed %v (%s), limits %+v, want %+v", d.Allowed, d.Reason, d.Limits, want)
	}
	if d.Person.ImpersonatorIAMID != "local" {
		t.Errorf("acts: %+v", d.Person)
	}
}
