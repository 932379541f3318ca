# offer.zsh FIFO: for each line it reads it prints what zsh offers at the end of it, one a line,
# and then an "end". An interactive zsh in a pseudo-terminal knows it, and tells it by the FIFO.
zmodload zsh/zpty
export offered=$1
rm -f $offered
mkfifo $offered
exec 5<>$offered
zpty shell zsh -f -i
zpty -w shell 'PS1= fpath=('$HERE/completion' $fpath) TERM=dumb; stty -echo
autoload -Uz compinit && compinit -D
exec 5>$offered
# Prints what is added to the matches, as far as it fits; what completion only asks is not added.
compadd() {
	local fitting=() word
	if (( ! ${argv[(I)-[OAD]*]} )); then
		builtin compadd -O fitting "$@"
		for word in $fitting; do print -u 5 -r -- $IPREFIX$word; done
	fi
	builtin compadd "$@"
}
offer() {
	compstate[insert]="" compstate[list]=""
	_main_complete 2>&5
	compstate[insert]="" compstate[list]=""
}
zle -C offer complete-word offer
all() { zle offer; print -u 5 end; zle kill-whole-line }
zle -N all
bindkey ^T all
print -u 5 ready'
while read -r -u 5 line && [[ $line != ready ]]; do :; done
while IFS= read -r line; do
	zpty -w -n shell $line$'\C-t'
	while IFS= read -r -u 5 line; do
		print -r -- $line
		[[ $line != end ]] || break
	done
	while zpty -rt shell line; do :; done # or else it waits for a reader one day
done
zpty -d shell
