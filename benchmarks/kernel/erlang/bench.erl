%% The workloads that Erlang has, as in naive.py: `bench:main([Workload, Size])` prints how many a second.
-module(bench).
-export([main/1]).

main([Workload, Size]) ->
    Count = list_to_integer(Size),
    Function = list_to_existing_atom(Workload),
    _ = measure(Function, min(Count, 2000)),
    io:format("~p~n", [measure(Function, Count)]),
    halt().

measure(Function, Count) ->
    erlang:garbage_collect(),
    {Took, Done} = run(Function, Count),
    Done * 1.0e9 / max(1, Took).

timed(Function) ->
    Began = erlang:monotonic_time(nanosecond),
    Function(),
    erlang:monotonic_time(nanosecond) - Began.

run(tell, Count) ->
    {fan_in(1, Count), Count};
run(fan_in, Count) ->
    Each = max(1, Count div 1000),
    {fan_in(1000, Each), 1000 * Each};
run(fan_out, Count) ->
    Each = max(1, Count div 1000),
    Self = self(),
    Sinks = [spawn(fun() -> sink(Each, Self) end) || _ <- lists:seq(1, 1000)],
    Took = timed(fun() ->
        repeat(Each, fun() -> [Sink ! {add, 1} || Sink <- Sinks] end),
        repeat(1000, fun() -> receive done -> ok end end)
    end),
    {Took, 1000 * Each};
run(ask, Count) ->
    Server = spawn(fun server/0),
    Took = timed(fun() -> repeat(Count, fun() -> ask(Server) end) end),
    Server ! stop,
    {Took, Count};
run(ring, Count) ->
    Self = self(),
    First = spawn(fun() -> receive {next, Next} -> node_of_ring(Next, Self) end end),
    Last = lists:foldl(fun(_, Next) -> spawn(fun() -> node_of_ring(Next, Self) end) end, First, lists:seq(1, 999)),
    First ! {next, Last},
    Took = timed(fun() -> First ! {hop, Count}, receive done -> ok end end),
    First ! stop,
    {Took, Count};
run(spawn, Count) ->
    Took = timed(fun() ->
        repeat(Count, fun() ->
            {Child, Reference} = spawn_monitor(fun() -> receive stop -> ok end end),
            Child ! stop,
            receive {'DOWN', Reference, process, Child, _} -> ok end
        end)
    end),
    {Took, Count}.

%% Senders that each send their share to one sink.
fan_in(Senders, Each) ->
    Self = self(),
    Sink = spawn(fun() -> sink(Senders * Each, Self) end),
    Ready = [spawn(fun() -> receive go -> repeat(Each, fun() -> Sink ! {add, 1} end) end end) || _ <- lists:seq(1, Senders)],
    timed(fun() -> [Sender ! go || Sender <- Ready], receive done -> ok end end).

sink(0, Parent) -> Parent ! done;
sink(Left, Parent) -> receive {add, _} -> sink(Left - 1, Parent) end.

server() ->
    receive
        {ask, Reference, From} -> From ! {Reference, 1}, server();
        stop -> ok
    end.

ask(Server) ->
    Reference = make_ref(),
    Server ! {ask, Reference, self()},
    receive {Reference, Answer} -> Answer after 30000 -> exit(timeout) end.

node_of_ring(Next, Parent) ->
    receive
        {hop, 0} -> Parent ! done, node_of_ring(Next, Parent);
        {hop, Left} -> Next ! {hop, Left - 1}, node_of_ring(Next, Parent);
        stop -> Next ! stop
    end.

repeat(0, _) -> ok;
repeat(Left, Function) -> Function(), repeat(Left - 1, Function).
