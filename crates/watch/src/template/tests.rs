use proptest::prelude::*;
use series::Labels;

use super::*;

const NAMES: [&str; 4] = ["labels", "value", "externalLabels", "externalURL"];

fn filled(template: &str, value: f64) -> String {
    let labels = Labels::new([("instance", "web:80"), ("job", "web")]);
    let (labels, value) = (Value::from(&labels), Value::Number(value));
    let up = Labels::metric("up", [("instance", "b.example:80")]);
    let ask = move |query: &str| match query {
        "up" => Ok(vec![Value::sample(&up, 1.0), Value::sample(&up.with("instance", "a"), 0.0)]),
        _ => Err("no such series".to_owned()),
    };
    let scope = Scope {
        dot: [("Labels", labels.clone()), ("Value", value.clone())].into_iter().collect(),
        variables: vec![("labels", labels), ("value", value), ("externalURL", "http://m/x".into())],
        ask: Some(&ask),
        external_url: "http://m/x",
        ..Scope::default()
    };
    let template = Template::parse(template, &NAMES).expect(template);
    template.fill(&scope).unwrap_or_else(|error| format!("<{error}>"))
}

#[test]
fn templates_are_filled_as_go_fills_them() {
    let table = [
        ("{{ $labels.job }} on {{$labels.instance}}", 1.0, "web on web:80"),
        ("{{ $labels }}", 1.0, "map[instance:web:80 job:web]"),
        ("[{{ $labels.nothing }}]", 1.0, "[]"),
        ("{{ index $labels \"job\" }}{{ .Labels.job }}{{ $.Labels.job }}", 1.0, "webwebweb"),
        ("{{ $value }} {{ .Value }}", 0.25, "0.25 0.25"),
        ("{{ $value }}", 123_456.0, "123456"),
        ("{{ $value }}", 1_234_567.0, "1.234567e+06"),
        ("{{ printf \"%.2f\" $value }}", 1.625_1, "1.63"),
        ("{{ $value | printf \"%.1f%%\" }}", 12.34, "12.3%"),
        ("{{ printf \"%.4g\" $value }}", 123_456.0, "1.235e+05"),
        ("{{ printf \"%5.1f|%-6s|\" $value $labels.job }}", 2.0, "  2.0|web   |"),
        ("{{ printf \"%d %05.1f\" $value $value }}", 2.0, "%!d(float64=2) 002.0"),
        ("{{ $value | humanize }}", 1_234_567.0, "1.235M"),
        ("{{ $value | humanize }}", 0.001_5, "1.5m"),
        ("{{ humanize1024 $value }}", 1_572_864.0, "1.5Mi"),
        ("{{ $value | humanizePercentage }}", 0.123_45, "12.35%"),
        ("{{ $value | humanizeDuration }}", 93_784.0, "1d 2h 3m 4s"),
        ("{{ $value | humanizeDuration }}", 0.05, "50ms"),
        ("{{ $value | humanizeTimestamp }}", 1_435_065_584.5, "2015-06-23 13:19:44.5 +0000 UTC"),
        ("{{ $labels.job | toUpper | title }}", 0.0, "WEB"),
        ("a {{- $value -}} b{{/* nothing */}}", 2.0, "a2b"),
        ("{{ \"}}\" }}{{ `a\"b` }}", 0.0, "}}a\"b"),
        ("plain { } text", 0.0, "plain { } text"),
        (
            "{{ if gt $value 1.0 }}many{{ else if eq $value 1.0 }}one{{ else }}none{{ end }}",
            1.0,
            "one",
        ),
        ("{{ with $labels.nothing }}{{ . }}{{ else }}-{{ end }}", 1.0, "-"),
        (
            "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ . | value }};{{ end }}",
            1.0,
            "a=0;b.example:80=1;",
        ),
        (
            "{{ range $i, $s := query \"up\" }}{{ $i }}{{ label \"instance\" $s }} {{ end }}",
            0.0,
            "0b.example:80 1a ",
        ),
        ("{{ $x := query \"up\" | first | value }}{{ if eq 1.0 $x }}yes{{ end }}", 0.0, "yes"),
        ("{{ query \"down\" }}", 0.0, "<no such series>"),
        ("{{ externalURL }} {{ pathPrefix }} {{ $externalURL }}", 0.0, "http://m/x /x http://m/x"),
        ("{{ graphLink \"up == 0\" }}", 0.0, "http://m/x/graph?g0.expr=up+%3D%3D+0&g0.tab=0"),
        (
            "{{ reReplaceAll \"(w)eb\" \"$1\" $labels.job }}{{ match \"^we\" \"web\" }}",
            0.0,
            "wtrue",
        ),
        ("{{ stripPort $labels.instance }} {{ stripDomain \"a.b.c:80\" }}", 0.0, "web a:80"),
        ("{{ (query \"up\" | first).Labels.instance }}", 0.0, "b.example:80"),
        ("{{ define \"t\" }}[{{ . }}]{{ end }}{{ template \"t\" $labels.job }}", 0.0, "[web]"),
        (
            "{{ range $labels.SortedPairs }}{{ .Name }}:{{ .Value }} {{ end }}",
            0.0,
            "instance:web:80 job:web ",
        ),
        ("{{ join \",\" $labels.Names }} {{ len $labels }}", 0.0, "instance,job 2"),
        ("{{ eq 1.0 1 }}", 0.0, "<a number and a whole number cannot be compared>"),
        ("{{ toJson $labels }}", 0.0, "{\"instance\":\"web:80\",\"job\":\"web\"}"),
        (
            "{{ parseDuration \"1h30m\" }} {{ and 1 0 }} {{ or 0 \"x\" }} {{ not true }}",
            0.0,
            "5400 0 x false",
        ),
        ("{{ ((toTime 0).Format \"2006-01-02T15:04:05Z07:00\") }}", 0.0, "1970-01-01T00:00:00Z"),
    ];
    for (template, value, wanted) in table {
        assert_eq!(filled(template, value), wanted, "{template}");
    }
}

#[test]
fn what_is_not_known_is_refused_with_its_place() {
    let table = [
        ("{{ $label.foo }}", "no variable is called `$label`"),
        ("x {{ $x }}", "no variable is called `$x`"),
        ("{{ value|query }}", "`value` takes 1 value, not 0"),
        ("{{ humanise $value }}", "no function is called `humanise`"),
        ("{{ humanize }}", "`humanize` takes 1 value, not 0"),
        ("{{ }}", "there is nothing where a value should be"),
        ("{{ $value", "`{{` has no `}}`"),
        ("{{ if $value }}", "`if` has no `end`"),
        ("{{ end }}", "`end` closes nothing"),
        ("{{ range $value }}{{ break }}{{ end }}", "`break` is not supported"),
        ("{{ \"a\" }", "`{{` has no `}}`"),
        ("{{ ($value }}", "`(` has no `)`"),
        ("{{ $x = 1 }}", "no variable is called `$x`"),
        ("{{ 1 2 }}", "a value is called as if it were a function"),
    ];
    for (template, wanted) in table {
        let error = Template::parse(template, &NAMES).expect_err(template);
        assert_eq!(error.message, wanted, "{template}");
    }
    let error = Template::parse("ab {{ humanise $value }}", &NAMES).expect_err("no function");
    assert_eq!((error.at, error.help.as_deref()), (3, Some("did you mean `humanize`?")));
}

#[test]
fn a_template_that_goes_round_in_circles_ends() {
    let circle = "{{ define \"t\" }}{{ template \"t\" . }}{{ end }}{{ template \"t\" 1 }}";
    assert_eq!(filled(circle, 0.0), "<templates are nested too deeply>");
    let wide = format!("{{{{ printf \"%{}d\" 1 }}}}", "9".repeat(9));
    assert_eq!(filled(&wide, 0.0), "<printf cannot print 999999999 characters>");
}

proptest! {
    #[test]
    fn no_text_makes_a_template_panic(
        text in "(\\{\\{[-a-z$.:=,|%\"`'() 0-9]{0,20}\\}\\}|[ a-z{}]{0,4}|\\{\\{ (if|range|with|end|else|define \"t\") ?\\$?[a-z]{0,6} \\}\\}|\\PC{0,8}){0,6}",
        value in any::<f64>(),
    ) {
        if let Ok(template) = Template::parse(&text, &NAMES) {
            let scope = Scope { variables: vec![("value", Value::Number(value))], ..Scope::default() };
            let _ = template.fill(&scope);
        }
    }
}
