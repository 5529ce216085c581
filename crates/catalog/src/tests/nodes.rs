//! Nodes: who is there, who does what, and what they count together.

use super::*;
use crate::{CaptureAnswer, Node, RateBucket, TakenRequests};
use tidemark_model::{NodeId, NodeRole, NodeRun};

fn node(started: i64, until: i64) -> Node {
    Node {
        id: NodeId::new(at(started)),
        run: NodeRun::new(at(started)),
        role: NodeRole::All,
        host: "h".into(),
        ports: 10,
        vault: "s3://b".into(),
        keys: String::new(),
        certificate: None,
        started_at: at(started),
        alive_until: at(until),
    }
}

fn joined(f: &Fixture, until: i64) -> Node {
    let node = node(1_000, until);
    f.catalog.join_node(&node).unwrap();
    node
}

#[test]
fn a_node_that_starts_again_gives_back_what_it_held_and_nobody_else() {
    let f = fixture();
    let (one, other) = (joined(&f, 5_000), joined(&f, 5_000));
    let second = insert_instance(&f.catalog, f.project, "two", InstanceFamily::Serverless);
    for instance in [f.instance, second] {
        let kind = SnapshotKind::Scheduled;
        let hour = SignedDuration::from_hours(1);
        f.catalog.insert_snapshot(&NewSnapshot::new(instance, kind, at(1_100), hour)).unwrap();
    }
    let claim = |run: NodeRun, now| f.catalog.claim_snapshot(&holder(&run.to_string()), at(now));
    let (first, _) = claim(one.run, 2_000).unwrap().unwrap();
    let (others, _) = claim(other.run, 2_000).unwrap().unwrap();
    assert!(claim(one.run, 2_001).unwrap().is_none());
    // The same data folder, a second later.
    let again = Node { run: NodeRun::new(at(2_001)), started_at: at(2_001), ..one.clone() };
    f.catalog.join_node(&again).unwrap();
    let (taken, _) = claim(again.run, 2_002).unwrap().unwrap();
    assert_eq!((taken.id, taken.attempt), (first.id, 2));
    assert!(claim(again.run, 2_002).unwrap().is_none(), "{others:?} is another node's");
    let renewed = f.catalog.renew_node(one.id, (&holder(&one.run.to_string()), at(2_003)), None);
    assert!(matches!(renewed, Err(CatalogError::LeaseLost(_))));
    f.catalog.renew_node(one.id, (&holder(&again.run.to_string()), at(2_003)), None).unwrap();
    let alive_until =
        |id| f.catalog.list_nodes().unwrap().into_iter().find(|n| n.id == id).unwrap().alive_until;
    assert_eq!(alive_until(one.id), at(2_033));
    f.catalog.leave_node(again.run, at(2_010)).unwrap();
    // It is gone from now on, not since ever.
    assert_eq!(alive_until(one.id), at(2_010));
}

#[test]
fn nodes_with_another_vault_are_refused_while_somebody_serves_the_records() {
    let f = fixture();
    joined(&f, 1_500);
    let other = Node { vault: "s3://other".into(), ..node(1_400, 1_500) };
    let refused = f.catalog.join_node(&other).unwrap_err();
    assert!(refused.to_string().contains("s3://other"), "{refused}");
    f.catalog.join_node(&Node { started_at: at(1_501), ..other }).unwrap();
}

#[test]
fn a_duty_is_of_one_node_until_that_is_gone() {
    let f = fixture();
    let (one, other) = (joined(&f, 2_000), joined(&f, 3_000));
    let hold = |run, now| f.catalog.hold_duty("d", run, at(now)).unwrap();
    assert!(hold(one.run, 1_500));
    assert!(!hold(other.run, 1_999));
    assert!(hold(one.run, 1_999));
    assert!(hold(other.run, 2_000));
    assert!(!hold(one.run, 2_001));
    f.catalog.leave_node(other.run, at(2_002)).unwrap();
    // Who does not count as there gets none.
    assert!(!hold(one.run, 2_002));
}

#[test]
fn captures_are_shared_out_and_taken_over() {
    let f = fixture();
    let (one, other) = (joined(&f, 2_000), joined(&f, 3_000));
    let mut all = vec![f.instance];
    for name in ["a", "b", "c"] {
        all.push(insert_instance(&f.catalog, f.project, name, InstanceFamily::Serverless));
    }
    let claim = |run, most, now| {
        let mut mine = f.catalog.claim_captures(run, (&all, most), at(now)).unwrap();
        mine.sort_unstable();
        mine
    };
    let first = claim(one.run, 2, 1_500);
    let second = claim(other.run, 4, 1_500);
    assert_eq!((first.len(), second.len()), (2, 2));
    assert!(first.iter().all(|id| !second.contains(id)));
    assert_eq!(claim(one.run, 4, 1_501), first);
    f.catalog.check_capture(first[0], one.run).unwrap();
    // One is given back, the other taken over.
    f.catalog.release_capture(first[1], one.run).unwrap();
    assert_eq!(claim(other.run, 4, 1_999).len(), 3);
    assert_eq!(claim(other.run, 4, 2_000).len(), 4);
    let lost = f.catalog.check_capture(first[0], one.run);
    assert!(matches!(lost, Err(CatalogError::LeaseLost(_))));
    // Instances that are gone are nobody's.
    let gone = InstanceId::new(at(1));
    assert_eq!(f.catalog.claim_captures(other.run, (&[gone], 4), at(2_000)).unwrap(), []);
}

#[test]
fn who_wants_a_capture_is_answered_by_who_follows_it() {
    let f = fixture();
    let (one, other) = (joined(&f, 2_000), joined(&f, 2_000));
    let number = f.catalog.want_capture(f.instance).unwrap();
    f.catalog.claim_captures(one.run, (&[f.instance], 1), at(1_500)).unwrap();
    assert_eq!(f.catalog.list_wanted_captures(other.run).unwrap(), []);
    assert_eq!(f.catalog.list_wanted_captures(one.run).unwrap(), [(f.instance, number)]);
    let later = f.catalog.want_capture(f.instance).unwrap();
    let through = OplogTime::new(7, 8);
    let answer = CaptureAnswer { outcome: Ok(through) };
    f.catalog.answer_capture((f.instance, other.run), number, &answer).unwrap();
    assert_eq!(f.catalog.find_capture_answer(f.instance, number).unwrap(), None);
    f.catalog.answer_capture((f.instance, one.run), number, &answer).unwrap();
    assert_eq!(f.catalog.find_capture_answer(f.instance, number).unwrap(), Some(answer));
    assert_eq!(f.catalog.find_capture_answer(f.instance, later).unwrap(), None);
    let failed = CaptureAnswer { outcome: Err("no".into()) };
    f.catalog.answer_capture((f.instance, one.run), later, &failed).unwrap();
    assert_eq!(f.catalog.find_capture_answer(f.instance, later).unwrap(), Some(failed));
    assert_eq!(f.catalog.list_wanted_captures(one.run).unwrap(), []);
}

#[test]
fn an_instance_is_on_one_node_and_begins_anew_on_another() {
    let f = fixture();
    let (one, other) = (joined(&f, 2_000), joined(&f, 2_000));
    assert!(f.catalog.claim_instance(f.instance, one.id).unwrap());
    assert!(!f.catalog.claim_instance(f.instance, other.id).unwrap());
    let refused = f.catalog.set_instance_port(f.instance, 9, Some(other.id));
    assert!(matches!(refused, Err(CatalogError::Missing(_))));
    f.catalog.set_instance_port(f.instance, 9, Some(one.id)).unwrap();
    let lose = || {
        let trouble = InstanceTrouble::NodeLost;
        f.catalog.set_instance_trouble(f.instance, &trouble, at(1_600)).unwrap();
    };
    lose();
    // It is back before anybody said that it begins anew.
    assert!(f.catalog.take_back(f.instance, one.id).unwrap());
    let refused = f.catalog.begin_instance_anew(f.instance, at(1_700));
    assert!(matches!(refused, Err(CatalogError::InUse(_))));
    f.catalog.clear_instance_trouble(f.instance, at(1_700)).unwrap();
    lose();
    f.catalog.begin_instance_anew(f.instance, at(1_800)).unwrap();
    let anew = f.catalog.load_instance(f.instance).unwrap();
    assert_eq!((anew.node, anew.port), (None, None));
    assert!(!f.catalog.take_back(f.instance, one.id).unwrap());
    assert!(f.catalog.claim_instance(f.instance, other.id).unwrap());
    assert!(!f.catalog.abandon_creation(f.instance, one.id).unwrap());
    // Who is back in time loses nothing.
    let lose =
        |before| f.catalog.lose_instance((f.instance, other.id), at(before), at(2_500)).unwrap();
    assert!(!lose(2_000));
    assert!(lose(2_001));
}

#[test]
fn a_nonce_is_used_once() {
    let f = fixture();
    let generation = f.catalog.generation();
    assert!(f.catalog.use_nonce(("n", 1), at(1_100)).unwrap());
    assert!(!f.catalog.use_nonce(("n", 1), at(1_100)).unwrap());
    assert!(f.catalog.use_nonce(("n", 2), at(1_200)).unwrap());
    assert_eq!(f.catalog.generation(), generation, "nobody waits for it");
    assert_eq!(f.catalog.forget_nonces(at(1_150)).unwrap(), 1);
    assert!(!f.catalog.use_nonce(("n", 2), at(1_200)).unwrap());
}

#[test]
fn requests_are_counted_together_and_come_back() {
    let f = fixture();
    let take = |scope, now| {
        let bucket = RateBucket { name: "x", scope, capacity: 1_000, refill: 60 };
        f.catalog.take_requests(&bucket, at(now)).unwrap()
    };
    assert_eq!(take("g", 0), TakenRequests::Some { taken: 20, left: 980 });
    let mut sum = 20;
    while let TakenRequests::Some { taken, .. } = take("g", 0) {
        sum += taken;
    }
    assert_eq!(sum, 1_000, "as many as there are, and no more");
    assert_eq!(take("g", 0), TakenRequests::None { wait_seconds: 1 });
    assert_eq!(take("g", 2), TakenRequests::Some { taken: 1, left: 1 });
    assert_eq!(take("another", 2), TakenRequests::Some { taken: 20, left: 980 });
    assert_eq!(f.catalog.forget_buckets(at(3)).unwrap(), 2);
}
