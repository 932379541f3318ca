// SPDX-License-Identifier: LGPL-2.1-or-later
/* vfio-bind-server OUT [ERR]: vfio-bind, for tests that run it some hundred times.
 *
 * Linked with the objects of the program and --wrap=main. A command comes on standard
 * input: the number of its arguments, and these, each with a NUL behind it. A child runs
 * main() with them, as it would after an exec, with nothing on standard input and its
 * output in the file OUT, or in OUT and ERR. Then its exit status is printed, as the
 * shell has it. Ends with its standard input.
 *
 * To exec the program and to link it to its libraries takes several times as long as most
 * of its commands. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_WORDS 100

int __real_main(int argc, char **argv);
int __wrap_main(int argc, char **argv);

/* Returns what is before the next NUL, or NULL at the end. */
static char *read_word(void)
{
	char *word = NULL;
	size_t size = 0;

	return getdelim(&word, &size, '\0', stdin) > 0 ? word : NULL;
}

static void direct(int fd, const char *path)
{
	int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);

	if (file < 0 || dup2(file, fd) < 0) {
		perror(path);
		abort();
	}
	close(file);
}

static void run(int argc, char **argv, const char *out, const char *err)
{
	direct(STDIN_FILENO, "/dev/null");
	direct(STDOUT_FILENO, out);
	if (err)
		direct(STDERR_FILENO, err);
	else
		dup2(STDOUT_FILENO, STDERR_FILENO);
	exit(__real_main(argc, argv));
}

int __wrap_main(int argc, char **argv)
{
	static char program[] = "vfio-bind";
	static char *words[MOST_WORDS], *arguments[MOST_WORDS + 1];

	for (char *count; argc > 1 && (count = read_word()); free(count)) {
		int n = atoi(count), status;
		pid_t child;

		if (n >= MOST_WORDS)
			abort();
		for (int i = 0; i < n; i++)
			words[i] = read_word();
		child = fork();
		if (child == 0) {
			/* A copy: main() may change it, and no word is to look lost. */
			arguments[0] = program;
			memcpy(arguments + 1, words, (size_t)n * sizeof(*words));
			run(n + 1, arguments, argv[1], argv[2]);
		}
		if (child < 0 || waitpid(child, &status, 0) < 0)
			return 1;
		dprintf(STDOUT_FILENO, "%d\n",
			WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		for (int i = 0; i < n; i++)
			free(words[i]);
	}
	return 0;
}
