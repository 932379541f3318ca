# shellcheck shell=bash
# Where a test fails. bats notes that before each command, for the sake of old shells, which
# takes an emulated machine longer than most commands. bash 5 knows it when one has failed.

if ((${BATS_TRACE_LEVEL:-0} == 0)); then # bats --trace shows each command
	bats_debug_trap() { trap - DEBUG; }

	bats_error_trap() {
		bats_check_status_from_trap
		[[ ${BATS_DEBUG_LAST_STACK_TRACE_IS_VALID-} ]] || bats_capture_stack_trace
		BATS_DEBUG_LAST_STACK_TRACE_IS_VALID=1
	}
fi
