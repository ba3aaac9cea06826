"""The agent: what runs on a machine. Standard library and Jinja2 only; it imports nothing from the server.

    __main__      argv to verb
    build         makes the zipapp

    service       `start` and `run`: from a boot to a session, and what that ends with done to the machine
    join          `join`: a host that is running already becomes a machine
    unit          the agent as a service of systemd
    report        `inventory`: prints or sends it
    asset         `asset`: keeps a file with a job
    param         `param`: what the helper commands of scripts do

    power         rebooting and powering off
    update        the server's agent in the place of ours
    kexec         a kernel to go on with instead of a reboot
    session       performs the loop's actions through client and runner
    loop          the pure table: (standing, reply) -> (standing, action)
    registration  from a ticket to a token
    runner        one task from work order to ending
    steps         the files of a task: rendered and written
    helpers       commands, shell functions and a Python module for scripts, as files
    provisioner_task  that module; it stands alone
    script        one script from start to exit, with timeout and cancellation
    heartbeat     tells the server that a job is alive and hears of cancellation
    logs          a job's log on its way to the server, by byte offset
    spool         bytes written and not yet acknowledged
    kept          results on disk until the server has them
    exits         exit codes
    render        the template dialect that server and agent share
    boot_words    words of kernel command lines as boot loaders take them

    inventory     what the machine is made of, as one object
    cards         network cards
    hardware      processors, memory, disks, PCI devices
    smbios        memory modules
    bmc           the machine's own BMC
    lldp          the switch ports it is plugged into
    identity      the numbers by which a machine is known again
    host          what is said when registering and coming up

    client        requests with retries
    transport     one HTTP request over a socket
    job_protocol  what is said of one job
    protocol      what is said of a machine
    messages      requests and replies as values
    config        agent.json
    cmdline       the kernel command line
    clock         time, as an argument
    interrupt     a reason to stop what is running
    backoff       pauses between tries
    files         files by their contents
    errors        what can go wrong
    version       the version

A module imports only from those below it.
"""
