# shellcheck shell=sh
# Sourced by login shells (/etc/profile.d), whose PATH Debian resets: the program's place, and what runs here.
case ":$PATH:" in
*:/opt/garden/bin:*) ;;
*) PATH=/opt/garden/bin:$PATH ;;
esac
case $- in
*i*) if [ -t 1 ]; then /opt/garden/bin/python /usr/local/lib/garden/login.py; fi ;;
esac
