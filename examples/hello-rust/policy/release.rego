# A release comes from main, and its tests were green.
package main

import rego.v1

deny contains msg if {
	input.commit.branch != "main"
	msg := sprintf("releases come from main, this commit is on %s", [input.commit.branch])
}

deny contains msg if {
	some run in input.runs
	run.conclusion == "failure"
	msg := sprintf("%s failed", [run.name])
}

warn contains msg if {
	some name, service in input.compose.services
	not service.healthcheck
	msg := sprintf("%s has no healthcheck, so it counts as healthy as soon as its port is open", [name])
}
