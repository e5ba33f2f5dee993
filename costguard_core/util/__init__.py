"""Small tools without any rule of Costguard: ids, URLs, the bounded map, the background worker, forks."""
