package mapping

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

func person(userid string, attributes ...string) policy.Person {
	p := policy.Person{PersonID: policy.PersonID{IAMID: "idp", UserID: userid}, Status: policy.StatusActive, Attributes: map[string][]string{}}
	for _, a := range attributes {
		name, value, _ := strings.Cut(a, "=")
		p.Attributes[name] = append(p.Attributes[name], value)
	}
	return p
}

func id(userid string) policy.PersonID { return policy.PersonID{IAMID: "idp", UserID: userid} }

var instance = Instance{Prefix: "portcullis_", SystemAccount: "gate", Roles: []Role{
	{Name: "ann", Login: true}, {Name: "Ann", Login: true}, {Name: "bob", Login: true}, {Name: "root", Login: true, Superuser: true},
	{Name: "staff"}, {Name: "rls", Login: true, BypassRLS: true}, {Name: "maker", Login: true, CreateRole: true},
	{Name: "owner", Login: true, Owner: true}, {Name: "many", Login: true, Members: 3}, {Name: "gate", Login: true},
	{Name: "portcullis_carl", Login: true}, {Name: "portcullis_group"}, {Name: "häuser", Login: true},
}}

func TestResolve(t *testing.T) {
	userid := &Automatic{Attribute: "userid"}
	manual := func(userid, account string, kind Kind) Entry {
		return Entry{Person: id(userid), State: Manual, Account: account, Kind: kind}
	}
	crowd := []policy.Person{person("1"), person("2")}
	iam := func(kind Kind, first, second string) []Entry { // of two people with roles of their own
		return []Entry{{Person: id("1"), State: Manual, Account: first, Role: "ann", Kind: kind}, {Person: id("2"), State: Manual, Account: second, Role: "bob", Kind: kind}}
	}
	long := strings.Repeat("ü", 30)
	tests := []struct {
		name   string
		cfg    Config
		people []policy.Person
		want   string // person=role (+ when it may be made), or person:code (! when it is a warning)
	}{
		{"by userid, case-sensitive", Config{Automatic: userid}, []policy.Person{person("bob"), person("ann"), person("Ann"), person("BOB")}, "Ann=Ann ann=ann bob=bob BOB:no_role"},
		{"stripped", Config{Automatic: &Automatic{Attribute: "email", StripSuffix: "@example.com"}},
			[]policy.Person{person("1", "email=ann@example.com"), person("bob@example.com"), person("x")}, "1=ann bob@example.com=bob x:no_value"},
		{"prefix, lower case, template", Config{Automatic: &Automatic{Attribute: "login", StripPrefix: `CORP\`, Lower: true, Template: "h{}r"}},
			[]policy.Person{person("1", `login=CORP\ÄUSE`)}, "1=häuser"},
		{"several values", Config{Automatic: &Automatic{Attribute: "login"}}, []policy.Person{person("1", "login=ann", "login=bob"), person("2", "login=bob", "login=bob")}, "2=bob 1:several_values"},
		{"nothing left", Config{Automatic: &Automatic{Attribute: "userid", StripSuffix: "bob"}}, []policy.Person{person("bob")}, "bob:invalid_name"},
		{"no mapping", Config{}, []policy.Person{person("ann")}, "ann:no_mapping"},
		{"by hand, none, unset", Config{Automatic: userid, Manual: []Entry{manual("x", "ann", ""), {Person: id("bob"), State: None}, {Person: id("Ann"), State: Unset}}},
			[]policy.Person{person("x"), person("bob"), person("Ann")}, "Ann=Ann x=ann bob:none"},
		{"by hand twice", Config{Automatic: userid, Manual: []Entry{manual("bob", "bob", ""), manual("bob", "ann", "")}}, []policy.Person{person("bob")}, "bob:duplicate_manual"},
		{"by hand for nobody", Config{Manual: []Entry{manual("gone", "bob", "")}}, nil, "gone:unknown_person"},
		{"odd state", Config{Manual: []Entry{{Person: id("bob"), State: "sure", Account: "bob"}}}, []policy.Person{person("bob")}, "bob:unknown_state"},
		{"odd kind", Config{Manual: []Entry{manual("bob", "bob", "ldap")}}, []policy.Person{person("bob")}, "bob:unknown_kind"},
		{"one IAM role that is not there, two people", Config{Manual: []Entry{manual("1", "x", KindIAMRole), manual("2", "x", KindIAMRole)}}, crowd, "1:shared_account 2:shared_account"},
		{"one account, two people", Config{Automatic: userid, Manual: []Entry{manual("x", "bob", "")}}, []policy.Person{person("bob"), person("x"), person("ann")}, "ann=ann bob:shared_account x:shared_account"},
		{"deactivated", Config{Automatic: userid}, []policy.Person{{PersonID: id("bob"), Status: "deactivated"}}, "bob:inactive"},
		{"reserved", Config{Automatic: userid}, []policy.Person{person("pg_monitor"), person("gate"), person("portcullis_carl"), person("rds_superuser"), person("public"), person("root"), person("staff")},
			"gate:reserved pg_monitor:reserved portcullis_carl:reserved public:reserved rds_superuser:reserved root:superuser staff:no_login"},
		{"reserved, with roles made", Config{Automatic: userid, MakeRoles: true}, []policy.Person{person("portcullis_carl"), person("portcullis_x"), person("pg_x")},
			"pg_x:reserved portcullis_carl:reserved portcullis_x:reserved"},
		{"made", Config{Automatic: userid, MakeRoles: true}, []policy.Person{person("ann"), person("carl"), person("BOB")}, "BOB=BOB+ ann=ann carl=carl+ BOB:case_differs!"},
		{"too long", Config{Automatic: userid, MakeRoles: true}, []policy.Person{person(long), person(long + "ÄÄ")}, long + "=" + long + "+ " + long + "ÄÄ:invalid_name"},
		{"risks", Config{Automatic: userid}, []policy.Person{person("rls"), person("maker"), person("owner"), person("many")},
			"maker=maker many=many owner=owner rls=rls maker:create_role! many:has_members! owner:owner! rls:bypass_rls!"},
		{"IAM", Config{Manual: []Entry{manual("u", "arn:aws:iam::1:user/eng/ann", KindIAMUser), manual("r", "arn:aws:iam::1:role/bob", KindIAMRole),
			{Person: id("c"), State: Manual, Account: "c@example.com", Role: "Ann", Kind: KindIdentityCenter}}},
			[]policy.Person{person("u"), person("r"), person("c")}, "c=Ann r=bob u=ann c:identity_center! c:no_rds_iam! r:iam_role! r:no_rds_iam! u:no_rds_iam!"},
		{"an IAM role for two", Config{Manual: []Entry{{Person: id("1"), State: Manual, Account: "arn:aws:iam::1:role/x", Role: "ann", Kind: KindIAMRole},
			{Person: id("2"), State: Manual, Account: "arn:aws:iam::1:role/x", Role: "bob", Kind: KindIAMRole}}},
			[]policy.Person{person("1"), person("2")}, "1:shared_account 2:shared_account"},
		{"an IAM role spelled otherwise", Config{Manual: iam(KindIAMRole, "eng", "arn:aws:iam::123456789012:role/eng")}, crowd, "1:shared_account 2:shared_account"},
		{"with a path, in another case", Config{Manual: iam(KindIAMRole, "arn:aws:iam::1:role/team/Eng", "arn:aws:iam::1:role/eng")}, crowd, "1:shared_account 2:shared_account"},
		{"a bare name with its path", Config{Manual: iam(KindIAMRole, "/team/eng", "ENG")}, crowd, "1:shared_account 2:shared_account"},
		{"a session of the role", Config{Manual: iam(KindIAMRole, "arn:aws:sts::1:assumed-role/eng/ann", "arn:aws:iam::1:role/eng")}, crowd, "1:shared_account 2:shared_account"},
		{"of two AWS accounts", Config{Manual: iam(KindIAMRole, "arn:aws:iam::1:role/eng", "arn:aws:iam::2:role/eng")}, crowd, "1=ann 2=bob 1:iam_role! 1:no_rds_iam! 2:iam_role! 2:no_rds_iam!"},
		{"one of them by its name only", Config{Manual: append(iam(KindIAMRole, "arn:aws:iam::1:role/eng", "arn:aws:iam::2:role/eng"), Entry{Person: id("3"), State: Manual, Account: "eng", Role: "Ann", Kind: KindIAMRole})},
			append(slices.Clone(crowd), person("3")), "1:shared_account 2:shared_account 3:shared_account"},
		{"an IAM user spelled otherwise", Config{Manual: iam(KindIAMUser, "arn:aws:iam::1:user/eng/Zoe", "zoe")}, crowd, "1:shared_account 2:shared_account"},
		{"a user and a role of one name", Config{Manual: []Entry{iam(KindIAMUser, "eng", "")[0], iam(KindIAMRole, "", "eng")[1]}}, crowd, "1=ann 2=bob 1:no_rds_iam! 2:iam_role! 2:no_rds_iam!"},
		{"Identity Center in another case", Config{Manual: iam(KindIdentityCenter, "Zoe@example.com", "zoe@example.com")}, crowd, "1:shared_account 2:shared_account"},
		{"Identity Center by its session", Config{Manual: iam(KindIdentityCenter, "arn:aws:sts::1:assumed-role/AWSReservedSSO_Read_0a/zoe@example.com", "zoe@example.com")}, crowd, "1:shared_account 2:shared_account"},
		{"an IAM account is not made", Config{MakeRoles: true, Manual: []Entry{manual("u", "arn:aws:iam::1:user/zoe", KindIAMUser)}}, []policy.Person{person("u")}, "u:no_role"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			accounts, problems := Resolve(tc.cfg, tc.people, instance)
			if got := write(accounts, problems); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func write(accounts []connection.Account, problems []Problem) string {
	var out []string
	for _, a := range accounts {
		text := strings.TrimPrefix(a.Person, "idp/") + "=" + a.Role
		if a.Make {
			text += "+"
		}
		out = append(out, text)
	}
	for _, p := range problems {
		text := p.Person.UserID + ":" + p.Code
		if p.Warning {
			text += "!"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestReasonsTellTheRisk(t *testing.T) {
	cfg := Config{Manual: []Entry{{Person: id("1"), State: Manual, Account: "x", Role: "ann", Kind: KindIAMRole}, {Person: id("2"), State: Manual, Account: "x", Role: "bob", Kind: KindIAMRole}}}
	_, problems := Resolve(cfg, []policy.Person{person("1"), person("2")}, instance)
	if want := "the IAM role is also idp/2's: the instance sees that the role logged in and not who assumed it, so a role can stand for one person only"; problems[0].Message != want {
		t.Errorf("got %q", problems[0].Message)
	}
}

// Whatever people and mappings are: each active person has an account or a
// reason, no account is two people's, none is one that may be nobody's.
func TestEveryPersonIsAccountedFor(t *testing.T) {
	names := []string{"ann", "Ann", "bob", "root", "staff", "gate", "portcullis_carl", "carl", "pg_x", "", "group", "set_1", "many"}
	rapid.Check(t, func(t *rapid.T) {
		var people []policy.Person
		for i := range rapid.IntRange(0, 8).Draw(t, "people") {
			p := person(fmt.Sprint("p", i))
			p.Attributes["login"] = rapid.SliceOfN(rapid.SampledFrom(names), 0, 2).Draw(t, "login")
			people = append(people, p)
		}
		cfg := Config{MakeRoles: rapid.Bool().Draw(t, "make"), Automatic: &Automatic{Attribute: "login", Lower: rapid.Bool().Draw(t, "lower")}}
		for i := range rapid.IntRange(0, 4).Draw(t, "entries") {
			cfg.Manual = append(cfg.Manual, Entry{Person: id(fmt.Sprint("p", i*2)),
				State:   rapid.SampledFrom([]State{Manual, None, Unset}).Draw(t, "state"),
				Account: rapid.SampledFrom(names).Draw(t, "account"),
				Kind:    rapid.SampledFrom([]Kind{"", KindIAMRole, KindIAMUser}).Draw(t, "kind")})
		}
		accounts, problems := Resolve(cfg, people, instance)
		holder := map[string]string{}
		for _, a := range accounts {
			if other, ok := holder[a.Role]; ok {
				t.Fatalf("%s is %s's and %s's", a.Role, other, a.Person)
			}
			holder[a.Role] = a.Person
			if slices.Contains([]string{"root", "staff", "gate", "pg_x", "", "portcullis_carl"}, a.Role) {
				t.Fatalf("%s is %s's account", a.Role, a.Person)
			}
		}
		for _, p := range people {
			mapped := slices.ContainsFunc(accounts, func(a connection.Account) bool { return a.Person == "idp/"+p.UserID })
			refused := slices.ContainsFunc(problems, func(q Problem) bool { return q.Person == p.PersonID && !q.Warning })
			if mapped == refused {
				t.Fatalf("%s: mapped %v, refused %v", p.UserID, mapped, refused)
			}
		}
	})
}

// Who is mapped by IAM and cannot log in by it is told, with the statement.
func TestTokensOfIAMNeedARole(t *testing.T) {
	by := func(userid, account string) Entry {
		return Entry{Person: id(userid), State: Manual, Account: account, Kind: KindIAMUser}
	}
	cfg := Config{Manual: []Entry{by("1", "takes"), by("2", `does "not`), by("3", "gone")}}
	people := []policy.Person{person("1"), person("2"), person("3")}
	rds := Instance{Roles: []Role{{Name: "takes", Login: true, IAM: true}, {Name: `does "not`, Login: true}, {Name: "rds_iam"}}}
	accounts, problems := Resolve(cfg, people, rds)
	if got := write(accounts, problems); got != `1=takes 2=does "not 2:no_rds_iam! 3:no_role` {
		t.Fatal(got)
	}
	if got := problems[0].Statement; got != `GRANT rds_iam TO "does ""not";` {
		t.Error(got)
	}
	if got := problems[1].Statement; got != `CREATE ROLE "gone" LOGIN; GRANT rds_iam TO "gone";` {
		t.Error(got)
	}
	rds.Roles = rds.Roles[:2]
	if _, problems = Resolve(cfg, people, rds); problems[0].Statement != "" || !strings.Contains(problems[0].Message, "no role rds_iam") {
		t.Errorf("%+v", problems[0])
	}
}
