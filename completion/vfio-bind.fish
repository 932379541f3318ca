# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of vfio-bind for fish. What it offers it asks of the tool: commands, options and
# columns of --help, devices and buses of list.

# Prints the words before the cursor but options and their arguments: the command, then its
# operands. Returns 1 behind a "--", where the words are those of another program.
function __vfio_bind_operands
    set -l words (commandline -opc)
    set -l command
    set -e words[1]
    while set -q words[1]
        set -l word $words[1]
        set -e words[1]
        switch $word
            case --
                return 1
            case '--*=*'
            case '-*'
                # -nro takes one as -o does
                string match -q -- '--*' $word; or set word -(string sub -s -1 -- $word)
                contains -- $command$word $__vfio_bind_with_argument; and set -e words[1]
            case '*'
                set -q command[1]; or set command $word
                echo $word
        end
    end
    return 0
end

# __vfio_bind_is COMMAND: it is on the line. With "", none is.
function __vfio_bind_is
    set -l operands (__vfio_bind_operands); or return
    test "$operands[1]" = "$argv[1]"
end

# __vfio_bind_has SHORT LONG: the option is on the line.
function __vfio_bind_has
    string match -qr -- "^(-[^-]*$argv[1].*|--$argv[2](=.*)?)\$" (commandline -opc)
end

function __vfio_bind_list
    vfio-bind list -nro $argv 2>/dev/null
end

# __vfio_bind_devices [--taken|--boot]: in the way of naming them that was begun.
function __vfio_bind_devices
    switch (commandline -ct)
        case '/dev/*' '/sys/bus/*' '/sys/class/*'
            __fish_complete_path (commandline -ct)
        case '/*'
            __vfio_bind_list PATH $argv
        case '*/*'
            __vfio_bind_list BUS,DEVICE $argv | string replace ' ' /
        case '*'
            __vfio_bind_list DEVICE $argv
    end
end

# __vfio_bind_drivers [DEVICE]: the VFIO drivers, of the device's bus if it is known, else of
# all; and the driver that has it now.
function __vfio_bind_drivers
    set -l row
    set -q argv[1]; and set row (__vfio_bind_list BUS,DRIVER $argv[1] | string split -n ' ')
    set -l buses $row[1]
    set -q buses[1]; or set buses (__vfio_bind_list BUS | sort -u)
    printf '%s\n' auto none vfio-$buses
    string match -v 'vfio-*' -- $row[2]
end

# What an operand of pin and handoff is: a device, then a driver for it. With --driver all are
# devices.
function __vfio_bind_operand
    set -l operands (__vfio_bind_operands)
    if not set -q operands[2]; or __vfio_bind_has d driver
        __vfio_bind_devices
    else if not set -q operands[3]
        __vfio_bind_drivers $operands[2]
    end
end

# The next one of a list with commas, of those not named yet.
function __vfio_bind_columns
    set -l before (commandline -ct | string replace -r -- '^--output=' '' |
        string replace -r '[^,+]*$' '')
    for row in (vfio-bind list --help 2>/dev/null | string replace -rf '^  ([A-Z]+) +' '$1\t')
        set -l column (string split \t $row)
        contains $column[1] (string split , (string trim -lc + -- $before))
        or printf '%s\t%s\n' $before$column[1] $column[2]
    end
end

# USER, or USER:GROUP.
function __vfio_bind_owners
    set -l owner (commandline -ct | string replace -r -- '^--owner=' '')
    if string match -q '*:*' -- $owner
        printf '%s\n' (string replace -r ':.*' : -- $owner)(__fish_print_groups)
    else
        __fish_print_users
    end
end

# Is it here that the program stands which a handoff runs?
function __vfio_bind_runs
    set -l operands (__vfio_bind_operands); and return 1
    test "$operands[1]" = handoff
end

# It is completed as if it stood alone.
function __vfio_bind_program
    set -l words (commandline -opc)
    set words $words[(math (contains -i -- -- $words) + 1)..]
    __fish_complete_subcommand --commandline (string escape -- $words) (commandline -ct)
end

# __vfio_bind_value OPTION: prints what its value is offered from.
function __vfio_bind_value
    switch $argv[1]
        case bus
            echo '(__vfio_bind_list BUS | sort -u)'
        case driver
            echo '(__vfio_bind_drivers)'
        case mode
            echo '0600 0660 0666'
        case output
            echo '(__vfio_bind_columns)'
        case owner
            echo '(__vfio_bind_owners)'
        case reset
            echo 'auto always never'
        case '*'
            echo
    end
end

# __vfio_bind_options [COMMAND]: offers those of its --help: "  -t, --timeout=SECONDS      wait...".
# A text that is too long for a line goes on behind 29 blanks.
function __vfio_bind_options
    for line in (vfio-bind $argv --help 2>/dev/null | string join \e |
            string replace -ar '\e {29}' ' ' | string split \e)
        string match -rq '^ +(-(?<short>.), )?--(?<long>[a-z-]+)(?<value>=[^ ]+)? +(?<text>.*)' \
            -- $line; or continue
        set -l option -l $long -d $text
        test -n "$short"; and set -a option -s $short
        if test -n "$value"
            set -a option -xa (__vfio_bind_value $long)
            set -ga __vfio_bind_with_argument $argv--$long $argv-$short
        end
        complete -c vfio-bind -n "__vfio_bind_is '$argv'" $option
    end
end

complete -c vfio-bind -e
complete -c vfio-bind -f
set -g __vfio_bind_with_argument
__vfio_bind_options
for line in (vfio-bind --help 2>/dev/null | string match -r '^  [a-z].*')
    set -l command (string match -r '[a-z]+' -- $line)
    set -l text (string replace -r '^ +[a-z]+ +' '' -- $line)
    complete -c vfio-bind -n '__vfio_bind_is ""' -a $command -d $text
    __vfio_bind_options $command
end
complete -c vfio-bind -n '__vfio_bind_is list' -a '(__vfio_bind_devices)'
complete -c vfio-bind -n '__vfio_bind_is release; and not __vfio_bind_has a all' \
    -a '(__vfio_bind_devices (__vfio_bind_has "(?!)" boot; and echo -- --boot; or echo -- --taken))'
for command in pin handoff
    complete -c vfio-bind -n "__vfio_bind_is $command" -a '(__vfio_bind_operand)'
end
complete -c vfio-bind -n __vfio_bind_runs -a '(__vfio_bind_program)'
