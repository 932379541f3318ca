#!/usr/bin/env bats
# lib/KERNEL.md and SECURITY.md name tests, the first functions, too: they are there.

# Of all files together, as there are many names: one process for each takes longest.
@test "each test and function that KERNEL.md names is in the file that it is said to be in" {
	cd "$BATS_TEST_DIRNAME/../.."
	awk '
		# there[FILE, NAME]: FILE has this test or function
		FILENAME != "lib/KERNEL.md" {
			if (match($0, /^@test ".*" \{$/))
				there[FILENAME, substr($0, 7, length - 8)] = 1
			while (/^[a-z]/ && match($0, /[a-z_0-9]+\(/)) {
				there[FILENAME, substr($0, RSTART, RLENGTH - 1)] = 1
				$0 = "a" substr($0, RSTART + RLENGTH)
			}
			next
		}
		{ page = page " " $0 }
		function demand(file, name) {
			if (!((file, name) in there)) {
				print file ": " name
				missing = 1
			}
		}
		function each(regex) { # sets token to the next one of the page, and rest to what follows
			if (!match(rest, regex))
				return 0
			token = substr(rest, RSTART, RLENGTH)
			rest = substr(rest, RSTART + RLENGTH)
			return 1
		}
		END {
			gsub(/[ \n]+/, " ", page)
			# `FILE`, `FILE` "test", "test"; each file has them
			for (rest = page; each("`[a-z]+/[a-z]+\\.bats`|\"[^\"]+\""); ) {
				if (token ~ /^"/) {
					ended = 1
					tests++
					for (i = 1; i <= files; i++)
						demand(file[i], token)
					continue
				}
				if (ended)
					files = 0
				ended = 0
				gsub(/`/, "", token)
				file[++files] = "tests/" token
			}
			# FILE.c `function()`, `function()`
			for (rest = page; each("[a-z]+\\.c|`[a-z_]+\\(\\)`"); ) {
				if (token ~ /\.c$/) {
					source = "lib/" token
					continue
				}
				functions++
				gsub(/[`()]/, "", token)
				demand(source, token)
			}
			print tests " tests, " functions " functions"
			exit missing || tests <= 40 || functions <= 30
		}' tests/*/*.bats lib/*.c lib/KERNEL.md
}

@test "whatever SECURITY.md says that somebody cannot do names its test, which is there" {
	cd "$BATS_TEST_DIRNAME/../.."
	perl -0777 -ne '
		# Each item of a list, up to the next one, or to an empty line.
		for my $item (/^- (.*?)(?=\n- |\n\n|\z)/msg) {
			my ($file, $n) = ("", 0);
			$item =~ s/\s+/ /g;
			for (my $rest = $item; $rest =~ /`(\w+\/\w+\.bats)`|"([^"]+)"/g;) {
				$file = $1 and next if $1;
				open my $tests, "<", "tests/$file" or die "$item: no $file\n";
				my ($text, $name) = (<$tests>, $2);
				die "$item: $file has no such test\n" if index($text, "\n\@test \"$name\" {\n") < 0;
				$n++;
			}
			die "$item: no test\n" if !$n;
			$items++;
		}
		END { print "$items items\n"; exit($items < 20) }' SECURITY.md
}
