# shellcheck shell=bash
# What tests/check and tests/fast end with. Sourced, not run.

# tell_failed LOG...: prints each test that failed, with what it said.
tell_failed() {
	awk '
		/^(not )?ok / { failed = /^not / }
		FNR == 1 { failed = /^not /; log_name = FILENAME; sub(/.*\//, "", log_name) }
		failed { print log_name ": " $0 }' "$@"
}

# summarize FOLDER: counts the tests in its logs, and prints "N passed, N failed", after those
# that failed. Returns 1 if any has failed, or none has passed.
summarize() {
	local passed failed skipped summary
	read -r passed failed skipped < <(awk '
		/^not ok / { failed++ }
		/^ok / { if (/# skip/) skipped++; else passed++ }
		END { print passed + 0, failed + 0, skipped + 0 }' "$1"/*)
	tell_failed "$1"/*
	summary="$passed passed, $failed failed"
	if ((skipped)); then
		echo "Skipped:"
		grep -h '# skip' "$1"/*
		summary+=", $skipped skipped"
	fi
	echo "$summary"
	((failed == 0 && passed > 0))
}
